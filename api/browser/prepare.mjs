// Turn an installed work folder into a STAC Browser source tree that builds: `node prepare.mjs WORK_FOLDER`.
//
// The npm package holds sources only, and they expect their node_modules beside them (styles are imported as
// ../../node_modules/ol/ol.css), so the sources are copied up to the work folder. Each change is checked: a newer STAC Browser
// that no longer has the place we change must fail here, not in somebody's web browser.

import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const work = process.argv[2];

function rewrite(name, change) {
  const file = join(work, name);
  const before = readFileSync(file, "utf8");
  const after = change(before);
  if (after === before) {
    throw new Error(`${name} of STAC Browser has nothing to change: compare prepare.mjs with its new version`);
  }
  writeFileSync(file, after);
}

cpSync(join(work, "node_modules/@radiantearth/stac-browser"), work, { recursive: true });

// The settings come at run time from the API, which knows its own address and title. The order matters: a deferred script
// runs before the bundle, which is deferred too and comes later.
rewrite("public/index.html", (html) =>
  html.replace(/<!--\s*<script[^>]*src="\/config\.js"[^>]*><\/script>\s*-->/, '<script defer src="<%= BASE_URL %>config.js"></script>'),
);

// vue-cli loads every plugin that package.json names; linting and translating are not installed here (300 packages less).
rewrite("package.json", (text) => {
  const manifest = JSON.parse(text);
  manifest.devDependencies = Object.fromEntries(
    Object.entries(manifest.devDependencies).filter(([name]) => existsSync(join(work, "node_modules", name))),
  );
  return JSON.stringify(manifest, null, 2);
});

rewrite("basemaps.config.js", () => readFileSync(join(here, "basemaps.config.js"), "utf8"));

cpSync(join(here, "map-sources.js"), join(work, "src/map-sources.js"));
// The build reads config.js in Node too, which could not load an ES module there and then: import it at its first use.
rewrite("config.js", (text) =>
  text.replace(
    /getMapSourceOptions: null/,
    'getMapSourceOptions: async (...given) => (await import("./src/map-sources.js")).default(...given)',
  ),
);

// The map of a collection or of search results shows where its items are. STAC Browser would draw the first COG of each item, or its
// thumbnail, over that: as many files to open as there are items, each over its neighbours.
rewrite("src/components/Map.vue", (text) =>
  text.replace(
    /displayPreview: this\.children && this\.children\.isItemCollection\(\)/,
    "getSourceOptions: this.stacLayerOptions.getSourceOptions, displayOverview: false, displayPreview: false",
  ),
);

// ol-stac takes the tiles of every TileJSON for pictures, and looks for labels in GeoJSON assets only. Ours are vector tiles, and
// items link to those of their labels.
const layers = "node_modules/ol-stac/layer/STAC.js";
rewrite(layers, (text) => text.replace("import GeoJSON from", "import MVT from 'ol/format/MVT.js';\n$&"));
rewrite(layers, (text) =>
  text.replace(
    "case 'tilejson':",
    `$&
                const described = await (await fetch(url)).json();
                if (described.vector_layers) {
                    const { tiles: [tiles], maxzoom: maxZoom, attribution = options.attributions } = described;
                    sources.push(new VectorTileSource({ format: new MVT(), url: tiles, maxZoom, attributions: attribution }));
                    break;
                }`,
  ),
);
rewrite(layers, (text) =>
  text.replace("data.getMetadata('label:type') === 'vector'", "$& && this.getWebMapLinks().length === 0"),
);

// `displayWebMapLink: false`, what ol-stac has for the items of a list, asks for none: it would draw those of each item.
rewrite(layers, (text) =>
  text.replace("let types = ['xyz'", "if (this.displayWebMapLink_ === false) {\n            return [];\n        }\n        $&"),
);

// OpenLayers 10.6 reprojects pixels that are not square (0.00275 by 0.00211 degrees, say) with a fractional pixel ratio, computes
// with tiles of 333.6 pixels and draws a grid of dots on black, beside its place. A hundredth is what rounding makes of square ones.
rewrite("node_modules/ol/source/DataTile.js", (text) =>
  text.replace("pixelRatio: reprojTilePixelRatio,", "pixelRatio: Math.ceil(reprojTilePixelRatio - 0.01),"),
);

// Links to all versions (RFC 5829) lead to a STAC Catalog here, so show it as a page rather than as JSON in another tab, and name
// it beside the predecessor and the successors.
rewrite("src/rels.js", (text) => text.replace("'latest-version',", "'version-history', 'latest-version',"));
rewrite("src/components/DeprecationNotice.vue", (text) =>
  text
    .replace(
      "</ul>",
      `  <li v-if="historyLink" class="history">
        <StacLink :data="historyLink" :fallbackTitle="() => 'version-history'" />
      </li>
    </ul>`,
    )
    .replace(
      "computed: {",
      `computed: {
    historyLink() {
      return this.data.getStacLinkWithRel('version-history');
    },`,
    ),
);

// The list of versions is there for programs; the same versions stand below it as cards.
rewrite("src/views/Catalog.vue", (text) => text.replace("'stac_version',", "$& 'versions', 'numberMatched', 'numberReturned',"));
