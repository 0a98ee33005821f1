"""Make ``catalog/crs_codes.txt`` and ``crs_names.txt`` from PROJ's database. Run once; the tables are frozen.

The first has the code of every normal form, the second EPSG's code of every name of a method or parameter. They belong
to the digest schemes ``r1:`` and ``v1:``: with others they would be other schemes.

Usage: ``python tools/make_crs_codes.py catalog``
"""

from __future__ import annotations

import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

import pyproj
from pyproj.database import get_database_metadata, query_crs_info
from pyproj.datadir import get_data_dir
from pyproj.enums import PJType

from catalog.crs_normal import normal_form, normal_key, plain_name

AUTHORITIES = ("EPSG", "OGC", "ESRI", "IAU_2015")


def names() -> str:
    """The table of names, as text: those of EPSG's conversions and of PROJ's way to read TOWGS84."""
    found: dict[str, str] = {}
    with sqlite3.connect(Path(get_data_dir()) / "proj.db") as database:
        columns = ["method", *(f"param{number}" for number in range(1, 8))]
        for column in columns:
            query = f"SELECT DISTINCT {column}_name, {column}_code FROM conversion WHERE {column}_auth_name = 'EPSG'"
            for name, code in sorted(database.execute(query), reverse=True):  # of superseded codes, the lower is new
                found[plain_name(name)] = f"EPSG:{code}"
    bound = pyproj.CRS("+proj=longlat +ellps=bessel +towgs84=1,2,3,4,5,6,7").to_json_dict()["transformation"]
    for each in (bound["method"], *bound["parameters"]):
        found[plain_name(each["name"])] = f"EPSG:{each['id']['code']}"
    return "".join(f"{name} {code}\n" for name, code in sorted(found.items()))


def codes() -> str:
    """The table of codes, as text."""
    groups: dict[str, set[tuple[int, bool, int, str]]] = defaultdict(set)
    for rank, authority in enumerate(AUTHORITIES):
        for info in query_crs_info(auth_name=authority, allow_deprecated=True):
            if info.type == PJType.ENGINEERING_CRS:
                continue
            crs = pyproj.CRS.from_authority(authority, info.code)
            number = int(info.code) if info.code.isdigit() else 0
            # EPSG has several codes for one CRS. Of projected ones the highest is the usual: 25832, not 3044 (N-E);
            # 32635, not 4037 (TMzn35N); 31467, not 5677 (E-N). Of others the lowest: 4171, not 7084 (lon-lat).
            order = -number if crs.is_projected and not crs.is_compound and authority == "EPSG" else number
            code = f"{authority}:{info.code}"
            groups[normal_key(normal_form(crs.to_json_dict()))].add((rank, info.deprecated, order, code))
    database = get_database_metadata("EPSG.VERSION")
    lines = [f"# PROJ {pyproj.proj_version_str}, EPSG {database}. Made by tools/make_crs_codes.py; frozen."]
    lines += [f"{key} {min(found)[3]}" for key, found in sorted(groups.items(), key=lambda pair: min(pair[1]))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "crs_names.txt").write_text(names(), "ascii")  # first: the forms of the second are made with it
    (folder / "crs_codes.txt").write_text(codes(), "ascii")
