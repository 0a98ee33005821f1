"""The application factory of the STAC API: nothing happens on import, and a catalog that cannot be opened stops it."""

from __future__ import annotations

import logging
from typing import Any

from brotli_asgi import BrotliMiddleware
from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api.backend import Backend, EmbeddedBackend
from api.browser_crs import BrowserCrs
from api.browser_files import mount_browser
from api.collection_search import collection_queryables
from api.errors import add_error_handlers
from api.files import file_router
from api.middleware import BodyLimit, EncodedETags, HeadAsGet, PublicAddress
from api.objects import object_router
from api.openapi import describe
from api.params import refuse_unknown
from api.settings import ApiSettings
from catalog.extensions import STAC_VERSION
from versioning.catalog import Catalog
from versioning.errors import StacpinError, StorageUnavailable

__all__ = ["create_app"]

# Nothing is compressed that has ranges, or is compressed already.
_UNCOMPRESSED = [r"/objects/", r"/files(?:/[^/]+){5}$", r"/browser/(?:img|js|css)/.*\.(?:png|jpg|woff2?)$"]


def create_app(settings: ApiSettings, backend: Backend | None = None) -> FastAPI:
    """Make the STAC API of a catalog.

    The catalog is opened here and not at the first request, so that a wrong address is one clear error before anything
    listens. An object store has no connection that would have to be closed.

    Parameters
    ----------
    settings
        What to serve, and under which address.
    backend
        What finds versions and items; None reads the catalog's manifests (no database, no server).

    Raises
    ------
    NotFound
        If there is no catalog.
    InvalidInput
        If its address cannot be read, or it has a newer format.
    """
    # stac-fastapi warns on import about its own default settings, which are not used here.
    logging.getLogger("stac_fastapi.types.config").setLevel(logging.ERROR)
    from stac_fastapi.api.app import StacApi
    from stac_fastapi.extensions.fields import FieldsExtension
    from stac_fastapi.extensions.filter import FilterExtension
    from stac_fastapi.types.config import ApiSettings as FrameworkSettings

    from api import conformance, params
    from api.core import CoreClient
    from api.queryables import QueryablesClient
    from api.version_routes import VersionRoutes

    found = (
        EmbeddedBackend(Catalog.open(settings.catalog), seconds=settings.max_search_seconds)
        if backend is None
        else backend
    )
    title = settings.title or found.catalog.settings.title or "stacpin"
    framework = FrameworkSettings(
        _env_file=None,  # pyright: ignore[reportCallIssue] - pydantic-settings takes it
        stac_fastapi_title=title,
        stac_fastapi_description=settings.description,
        stac_fastapi_version="1.0.0",
        stac_fastapi_landing_id="stacpin",
        enable_response_models=False,
        enable_direct_response=False,
        openapi_url="/api",
        docs_url="/api.html",
    )
    core = CoreClient(
        backend=found,
        settings=settings,
        base_conformance_classes=conformance.BASE,
        landing_page_id="stacpin",
    )
    app = FastAPI(
        title=title,
        description=settings.description,
        version=framework.stac_fastapi_version,
        openapi_url=framework.openapi_url,
        docs_url=framework.docs_url,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(refuse_unknown)],
    )
    api = StacApi(
        settings=framework,
        client=core,
        title=title,
        description=settings.description,
        stac_version=STAC_VERSION,
        app=app,
        extensions=[
            FieldsExtension(conformance_classes=[]),
            FilterExtension(client=QueryablesClient(backend=found), conformance_classes=conformance.FILTER),
            VersionRoutes(core=core),
        ],
        exceptions={},
        search_get_request_model=params.SearchGetRequest,
        search_post_request_model=params.SearchPostRequest,
        collections_get_request_model=params.CollectionsRequest,
        collection_get_request_model=params.CollectionUri,
        items_get_request_model=params.ItemsRequest,
        item_get_request_model=params.ItemUri,
        middlewares=_middlewares(settings),
        health_check=_health(found),
    )
    api.app.include_router(object_router(found.catalog.store))
    api.app.include_router(file_router(found))
    api.app.include_router(collection_queryables())
    mount_browser(
        api.app, settings.browser, title=title, options=settings.browser_options, crs=BrowserCrs(found).definitions
    )
    describe(api.app)
    add_error_handlers(api.app, hide=found.catalog.url)
    return api.app


def _middlewares(settings: ApiSettings) -> list[Middleware]:
    """From the innermost outwards."""
    from stac_fastapi.api.middleware import ProxyHeaderMiddleware

    stack = [
        Middleware(BrotliMiddleware, excluded_handlers=_UNCOMPRESSED),
        Middleware(EncodedETags),
        Middleware(BodyLimit, limit=settings.max_body_bytes),
        # Outside of compression, so that HEAD has the headers that GET would have.
        Middleware(HeadAsGet),
        Middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
            allow_headers=["Content-Type", "If-None-Match", "If-Range", "Range"],
            expose_headers=["Accept-Ranges", "Content-Length", "Content-Location", "Content-Range", "ETag"],
            max_age=600,
        ),
    ]
    if settings.proxy_headers:
        stack.append(Middleware(ProxyHeaderMiddleware))
    if settings.public_url or settings.root_path:
        stack.append(Middleware(PublicAddress, url=settings.public_url, root_path=settings.root_path))
    return stack


def _health(backend: Backend) -> Any:
    def health() -> dict[str, str]:
        """Whether the catalog answers; 503 if it does not."""
        try:
            backend.catalog.store.get("stacpin.json")
        except StacpinError as error:
            raise StorageUnavailable("The catalog does not answer.", hint="Check the store.") from error
        return {"status": "UP"}

    return health
