// How the maps read rasters; prepare.mjs copies this file into STAC Browser's sources and sets it as `getMapSourceOptions`.

import { fromUrl } from "geotiff";

// Below it decoding takes less than a tenth of a second; the smallest overview of a COG has 512 pixels a side.
const MOST_SAMPLES = 4_000_000;
const MASK = 4; // the bit of NewSubfileType

export default async function mapSourceOptions(type, options) {
  await Promise.all(
    (options.sources ?? []).map(async (source) => {
      if (source.url) {
        // Contrast is no reason for a map to fail; a file that cannot be read is reported by the layer itself.
        Object.assign(source, await stretch(source, options.sourceOptions).catch(() => null));
      }
      // OpenLayers draws a raster without a nodata value with a black frame that covers the base map: it gives such a source no
      // alpha band to be transparent with. NaN asks for the band and declares no pixel of an integer raster to be missing. A
      // nodata value in the item's bands stays as it is; one that only the file knows would be drawn as data, so our items carry
      // theirs.
      if (source.nodata === undefined) {
        source.nodata = NaN;
      }
    }),
  );
  return options;
}

// Where neither item nor file has statistics, STAC Browser and OpenLayers scale by the range of the data type: elevations of 2,400 to
// 4,300 m in 16 bits are then all but black. So take the range from the smallest overview, without 2 % at either end. Bytes stay as
// they are.
async function stretch(source, sourceOptions) {
  const tiff = await fromUrl(source.url, sourceOptions);
  const image = await smallest(tiff);
  const samples = source.bands?.map((band) => band - 1) ?? [...Array(image.getSamplesPerPixel()).keys()];
  const size = image.getWidth() * image.getHeight() * samples.length;
  const known = !isWholeRange(source, image) || image.getGDALMetadata(0)?.STATISTICS_MAXIMUM !== undefined;
  if (known || image.getBitsPerSample() <= 8 || size > MOST_SAMPLES) {
    return null;
  }
  const nodata = source.nodata ?? image.getGDALNoData();
  const values = (await image.readRasters({ samples, interleave: true }))
    .filter((value) => Number.isFinite(value) && value !== nodata)
    .sort();
  const [min, max] = [0.02, 0.98].map((share) => values[Math.floor(share * (values.length - 1))]);
  return max > min ? { min, max } : null;
}

function isWholeRange({ min, max }, image) {
  const [bits, isSigned] = [image.getBitsPerSample(), image.getSampleFormat() === 2];
  const lowest = isSigned ? -(2 ** (bits - 1)) : 0;
  return (min ?? lowest) === lowest && (max ?? lowest + 2 ** bits - 1) === lowest + 2 ** bits - 1;
}

async function smallest(tiff) {
  for (let index = (await tiff.getImageCount()) - 1; index > 0; index -= 1) {
    const image = await tiff.getImage(index);
    if (!((image.fileDirectory.NewSubfileType ?? 0) & MASK)) {
      return image;
    }
  }
  return tiff.getImage(0);
}
