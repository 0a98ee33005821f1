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

// OpenLayers draws a raster without a nodata value with a black frame that covers the base map: it gives such a source no alpha
// band to be transparent with. NaN asks for the band and declares no pixel of an integer raster to be missing. A nodata
// value in the item's bands stays as it is; one that only the file knows would be drawn as data, so our items carry theirs.
rewrite("config.js", (text) =>
  text.replace(
    /getMapSourceOptions: null/,
    `getMapSourceOptions: (type, options) => {
      (options.sources || []).forEach((source) => {
        if (source.nodata === undefined) source.nodata = NaN;
      });
      return options;
    }`,
  ),
);

// A collection's map draws its items as child layers, which do not inherit the function above.
rewrite("src/components/Map.vue", (text) =>
  text.replace(
    /this\.childrenOptions\b/g,
    "{ getSourceOptions: this.stacLayerOptions.getSourceOptions, ...this.childrenOptions }",
  ),
);
