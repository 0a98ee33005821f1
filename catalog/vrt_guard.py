"""Reads a VRT before GDAL does, and hands GDAL a rebuilt one that holds nothing but what was understood.

A VRT is a small program for GDAL: it can name URLs, any file of the machine, raw byte ranges of any file, and Python.
What is not on the list here is refused, and GDAL never parses the original text: its lenient parser takes
``<sourcefilename>`` for ``<SourceFilename>``, so that any check on the original could be walked around.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree as ET
from xml.parsers import expat

from versioning.errors import InvalidInput

__all__ = ["SafeVrt", "read_vrt"]

MAX_VRT_BYTES = 32 * 1024 * 1024
MAX_ELEMENTS = 500_000
MAX_DEPTH = 16
_SOURCE_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"EHFA_HEADER_TAG")

# element -> attributes that are kept. Elements of the second table are dropped: they are tags, or hints that can lie.
_KEPT: dict[str, frozenset[str]] = {
    "VRTDataset": frozenset({"rasterXSize", "rasterYSize"}),
    "SRS": frozenset({"dataAxisToSRSAxisMapping", "coordinateEpoch"}),
    "GeoTransform": frozenset(),
    "GCPList": frozenset({"Projection", "dataAxisToSRSAxisMapping"}),
    "GCP": frozenset({"Id", "Info", "Pixel", "Line", "X", "Y", "Z"}),
    "VRTRasterBand": frozenset({"dataType", "band", "blockXSize", "blockYSize"}),
    "NoDataValue": frozenset(),
    "HideNoDataValue": frozenset(),
    "ColorInterp": frozenset(),
    "ColorTable": frozenset(),
    "Entry": frozenset({"c1", "c2", "c3", "c4"}),
    "Scale": frozenset(),
    "Offset": frozenset(),
    "MaskBand": frozenset(),
    "SimpleSource": frozenset({"resampling", "resample"}),
    "ComplexSource": frozenset({"resampling", "resample"}),
    "AveragedSource": frozenset({"resampling", "resample"}),
    "SourceFilename": frozenset({"relativeToVRT", "shared"}),
    "SourceBand": frozenset(),
    "SrcRect": frozenset({"xOff", "yOff", "xSize", "ySize"}),
    "DstRect": frozenset({"xOff", "yOff", "xSize", "ySize"}),
    "NODATA": frozenset(),
    "UseMaskBand": frozenset(),
    "ScaleOffset": frozenset(),
    "ScaleRatio": frozenset(),
    "LUT": frozenset(),
    "ColorTableComponent": frozenset(),
}
_DROPPED = frozenset(
    {
        "Metadata",
        "MDI",
        "Description",
        "UnitType",
        "CategoryNames",
        "Category",
        "Histograms",
        "HistItem",
        "HistMin",
        "HistMax",
        "BucketCount",
        "IncludeOutOfRange",
        "Approximate",
        "HistCounts",
        "OverviewList",
        "Overview",
        "SourceProperties",
        "BlockXSize",
        "BlockYSize",
    }
)
_SOURCES = frozenset({"SimpleSource", "ComplexSource", "AveragedSource"})


@dataclass(frozen=True, slots=True)
class SafeVrt:
    """A VRT that was understood whole: the text to give to GDAL, and the files that it reads."""

    xml: str
    sources: tuple[Path, ...]


def read_vrt(path: Path) -> SafeVrt:
    """Parse a VRT without GDAL, check everything in it, and rebuild it.

    Parameters
    ----------
    path : Path
        The VRT file, symlinks resolved; its folder is what its sources may not leave.

    Raises
    ------
    InvalidInput
        If it is too large, is not XML, has a DTD or entities, holds anything but plain sources (warped, pansharpened,
        derived or raw bands, pixel functions, open options), or a source is a URL, a GDAL connection string, outside
        the VRT's folder, missing, or not a GeoTIFF, JPEG 2000 or Erdas Imagine file (so no VRT in a VRT).
    """
    if path.stat().st_size > MAX_VRT_BYTES:
        raise InvalidInput(f"{path}: a VRT of {path.stat().st_size} bytes.", hint=f"At most {MAX_VRT_BYTES} are read.")
    root = _parse(path, path.read_bytes())
    if root.tag != "VRTDataset":
        _refuse(path, f"its root element is <{root.tag}>, not <VRTDataset>")
    sources: dict[Path, None] = {}
    rebuilt = _rebuild(path, root, sources, 0)
    return SafeVrt(ET.tostring(rebuilt, encoding="unicode"), tuple(sources))


def _refuse(path: Path, reason: str, hint: str = "Rewrite it as a GeoTIFF with gdal_translate.") -> NoReturn:
    raise InvalidInput(f"{path}: this VRT is refused: {reason}.", hint=hint)


def _parse(path: Path, data: bytes) -> ET.Element:
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            _refuse(path, f"it has more than {MAX_ELEMENTS} elements")
        builder.start(tag, attributes)

    def no_dtd(*_: object) -> None:
        _refuse(path, "it declares a DTD or entities")

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = no_dtd
    parser.EntityDeclHandler = no_dtd
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise InvalidInput(f"{path}: not a readable VRT: {error}.", hint="Is the file complete?") from error


def _rebuild(path: Path, node: ET.Element, sources: dict[Path, None], depth: int) -> ET.Element:
    if depth > MAX_DEPTH:
        _refuse(path, f"its elements are nested more than {MAX_DEPTH} deep")
    allowed = _KEPT.get(node.tag)
    if allowed is None:
        _refuse(path, f"<{node.tag}> is not allowed")
    out = ET.Element(node.tag)
    for name, value in node.attrib.items():
        if name not in allowed:
            _refuse(path, f'{name}="{value[:60]}" is not allowed on <{node.tag}>')
        out.set(name, value)
    out.text = (node.text or "").strip()
    if node.tag == "SourceFilename":
        source = _source(path, out.text, relative=out.get("relativeToVRT", "0") != "0")
        sources[source] = None
        out.set("relativeToVRT", "0")
        # without this, two bands of one file may share a handle across datasets
        out.set("shared", "0")
        out.text = str(source)
    if node.tag in _SOURCES and [child.tag for child in node].count("SourceFilename") != 1:
        _refuse(path, f"<{node.tag}> must have one <SourceFilename>")
    # a list: extend() turns an error inside a generator into a TypeError
    out.extend([_rebuild(path, child, sources, depth + 1) for child in node if child.tag not in _DROPPED])
    return out


def _source(vrt: Path, name: str, *, relative: bool) -> Path:
    hint = "Put the sources into the VRT's folder and name them relative to it."
    if not name or "\0" in name:
        _refuse(vrt, "a <SourceFilename> is empty", hint)
    if "://" in name or name.lower().startswith(("/vsi", "\\vsi")) or name.lstrip().startswith("<"):
        _refuse(vrt, f"the source {name[:120]!r} is not a file of its folder", hint)
    folder = vrt.parent
    try:
        source = (folder / name if relative else Path.cwd() / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        # says the same for what is missing and for what may not be looked at, so that it is no probe for foreign files
        _refuse(vrt, f"the source {name[:120]!r} is not a file of its folder", hint)
    if not source.is_relative_to(folder) or not source.is_file() or str(source).startswith("/vsi"):
        _refuse(vrt, f"the source {name[:120]!r} is not a file of its folder", hint)
    with source.open("rb") as file:
        head = file.read(16)
    if not head.startswith(_SOURCE_MAGIC):
        _refuse(vrt, f"the source {name[:120]!r} is not a GeoTIFF, JPEG 2000 or Erdas Imagine file")
    return source
