"""Make ``catalog/crs_codes.txt``: the code of every normal form in PROJ's database. Run once; the table is frozen.

Usage: ``python tools/make_crs_codes.py > catalog/crs_codes.txt``. The table belongs to the digest schemes ``r1:`` and
``v1:``: with another one they would be other schemes.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import pyproj
from pyproj.database import get_database_metadata, query_crs_info
from pyproj.enums import PJType

from catalog.crs_normal import normal_form, normal_key

AUTHORITIES = ("EPSG", "OGC", "ESRI", "IAU_2015")


def main() -> None:
    """Write the table to standard output."""
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
    sys.stdout.write(f"# PROJ {pyproj.proj_version_str}, EPSG {database}. Made by tools/make_crs_codes.py; frozen.\n")
    for key, found in sorted(groups.items(), key=lambda pair: min(pair[1])):
        sys.stdout.write(f"{key} {min(found)[3]}\n")


if __name__ == "__main__":
    main()
