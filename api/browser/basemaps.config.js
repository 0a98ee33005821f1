// Replaces STAC Browser's own file at build time.
//
// STAC Browser fixes its base maps when it is built; an air-gapped site could then neither use a tile server of its own
// nor stop the requests to OpenStreetMap. So ours asks the run-time settings first: `basemaps` in
// window.STAC_BROWSER_CONFIG is an array of OpenLayers tile sources (is, url, title, attributions, projection); an empty array
// means no base map and no request to anyone.

const OPENSTREETMAP = {
  is: "XYZ",
  url: "https://tile.openstreetmap.org/{z}/{x}/{y}.png",
  title: "OpenStreetMap",
  attributions: '&copy; <a href="https://www.openstreetmap.org/copyright" target="_blank">OpenStreetMap</a> contributors',
  projection: "EPSG:3857",
};

export default function configureBasemap() {
  const chosen = window.STAC_BROWSER_CONFIG?.basemaps;
  // Copies, since STAC Browser adds functions to the objects it is given.
  return (Array.isArray(chosen) ? chosen : [OPENSTREETMAP]).map((source) => ({ ...source }));
}
