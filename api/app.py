"""The application factory of the STAC API: nothing happens on import, and a catalog that cannot be opened stops it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from brotli_asgi import BrotliMiddleware
from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from api.backend import Backend, EmbeddedBackend
from api.browser_crs import BrowserCrs
from api.browser_files import mount_browser
from api.collection_search import collection_queryables
from api.errors import add_error_handlers
from api.files import file_router
from api.middleware import BodyLimit, EncodedETags, HeadAsGet, PublicAddress
from api.objects import OPEN, object_router
from api.openapi import describe
from api.params import refuse_unknown
from api.pictures.drawing import can_draw
from api.service.deadlines import Deadline
from api.service.encoding import EncodingChoice
from api.service.health import Health
from api.service.lanes import SearchLane
from api.service.requests import RequestWatch, RouteNote
from api.service.running import Running
from api.service.security import SecurityHeaders
from api.settings import ApiSettings
from catalog.extensions import STAC_VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from api.access.admission import Desk

__all__ = ["create_app"]

# Nothing is compressed that has ranges, or is compressed already.
_COMPRESSED_BY_ITSELF = r"/collections/[^/]+/assets$"
_UNCOMPRESSED = [
    r"/objects/",
    r"/files(?:/[^/]+){5}$",
    r"/browser/(?:img|js|css)/.*\.(?:png|jpg|woff2?)$",
    r"/(?:preview|thumbnail|tiles/[0-9]+/[0-9]+/[0-9]+\.png)$",
]


def create_app(
    settings: ApiSettings, backend: Backend | None = None, *, tracer_provider: TracerProvider | None = None
) -> FastAPI:
    """Make the STAC API of a catalog.

    The catalog is opened here and not at the first request, so that a wrong address is one clear error before anything
    listens. An object store has no connection that would have to be closed.

    Parameters
    ----------
    settings
        What to serve, and under which address.
    backend
        What finds versions and items; None takes what the settings say: the catalog's manifests (no database, no
        server), or its index. The store of one that is given is not observed: it has opened it itself.
    tracer_provider
        Where spans go, for programs that trace already; None and ``settings.otel`` exports them.

    Raises
    ------
    NotFound
        If there is no catalog.
    InvalidInput
        If its address cannot be read, it has a newer format, or a secret of the access settings is not there.
    StorageUnavailable
        If the log of reads cannot be written.
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

    running = Running(settings, tracer_provider)
    if backend is None:
        backend = _backend(settings, running)
    found = running.observed(backend)
    passage, desk = OPEN, None
    if settings.access is not None:
        from api.access.admission import Desk
        from api.access.signed import passage_of
        from api.access.visible import VisibleBackend

        desk = Desk(settings.access, proxied=settings.proxy_headers)
        passage = passage_of(desk, found.catalog.store, settings.access.hrefs)
        found = VisibleBackend(found)
    health = running.health(backend, *(desk.probes() if desk else ()))
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
        lifespan=running.lifespan(backend, health),
    )
    app.state.health, app.state.metrics = health, running.metrics
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
            *(_pictures(core) if can_draw() else ()),
        ],
        exceptions={},
        search_get_request_model=params.SearchGetRequest,
        search_post_request_model=params.SearchPostRequest,
        collections_get_request_model=params.CollectionsRequest,
        collection_get_request_model=params.CollectionUri,
        items_get_request_model=params.ItemsRequest,
        item_get_request_model=params.ItemUri,
        middlewares=_middlewares(settings, running, desk),
        health_check=_health(health),
    )
    api.app.include_router(object_router(found.catalog.store, passage))
    api.app.include_router(file_router(found, passage))
    api.app.include_router(collection_queryables())
    mount_browser(
        api.app, settings.browser, title=title, options=settings.browser_options, crs=BrowserCrs(found).definitions
    )
    describe(api.app)
    add_error_handlers(api.app, hide=found.catalog.url)
    if running.metrics is not None and settings.metrics == "path":
        metrics = running.metrics.endpoint()
        api.app.add_route("/_mgmt/metrics", metrics, methods=["GET"], include_in_schema=False)
    if running.tracing is not None:
        running.tracing.instrument(api.app)
    return api.app


def _backend(settings: ApiSettings, running: Running) -> Backend:
    catalog = running.open(settings.catalog)
    if settings.database_url is None:
        return EmbeddedBackend(catalog, seconds=settings.max_search_seconds)
    from api.pgstac_backend import PgstacBackend
    from api.pgstac_pool import PoolSettings

    pool = PoolSettings(size=settings.database_pool, seconds=settings.max_search_seconds)
    return PgstacBackend(catalog, settings.database_url.get_secret_value(), pool=pool)


def _middlewares(settings: ApiSettings, running: Running, desk: Desk | None) -> list[Middleware]:
    """From the innermost outwards."""
    from stac_fastapi.api.middleware import ProxyHeaderMiddleware

    admission: list[Middleware] = []
    if desk is not None:
        from api.access.admission import Admission

        admission.append(Middleware(Admission, desk=desk))
    stack = [
        Middleware(RouteNote),
        Middleware(SearchLane),
        Middleware(BrotliMiddleware, excluded_handlers=_UNCOMPRESSED),
        Middleware(EncodingChoice, uncompressed=[*_UNCOMPRESSED, _COMPRESSED_BY_ITSELF]),
        Middleware(EncodedETags),
        Middleware(BodyLimit, limit=settings.max_body_bytes, seconds=settings.client_seconds),
        # Before a body is read, and inside of what gives every answer its form.
        *admission,
        Middleware(Deadline, seconds=settings.request_seconds),
        # Outside of compression, so that HEAD has the headers that GET would have.
        Middleware(HeadAsGet),
        Middleware(
            CORSMiddleware,
            # Never with credentials: what a browser sends by itself is no proof of who asks.
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
            allow_headers=[
                *("Content-Type", "If-None-Match", "If-Range", "Range", "X-Request-ID"),
                *(["Authorization"] if desk else []),
            ],
            expose_headers=[
                "Accept-Ranges",
                "Content-Length",
                "Content-Location",
                "Content-Range",
                "ETag",
                "Retry-After",
                "X-Request-ID",
                *(["WWW-Authenticate"] if desk else []),
            ],
            max_age=600,
        ),
        Middleware(SecurityHeaders),
    ]
    if settings.proxy_headers:
        stack.append(Middleware(ProxyHeaderMiddleware))
    if settings.public_url or settings.root_path:
        stack.append(Middleware(PublicAddress, url=settings.public_url, root_path=settings.root_path))
    stack.append(Middleware(RequestWatch, metrics=running.metrics))
    return stack


def _pictures(core: Any) -> list[Any]:
    """The routes that draw, all on the same few threads."""
    from api.pictures.drawing import Drawing
    from api.pictures.routes import PictureRoutes
    from api.pictures.tile_routes import TileRoutes

    drawing = Drawing(at_once=core.settings.max_drawings, waiting=core.settings.max_drawings_waiting)
    return [TileRoutes(core=core, drawing=drawing), PictureRoutes(core=core, drawing=drawing)]


def _health(health: Health) -> Any:
    async def ready() -> Response:
        """Whether the service can answer: the catalog and each thing behind it; 503 if not, and while it shuts down."""
        return await health.answer()

    return ready
