# Every package is checked against a hash of the lock files; where they come from is the builder's own pip configuration.

FROM python:3.12-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never

WORKDIR /src

COPY requirements-uv.lock ./
RUN pip install --require-hashes --requirement requirements-uv.lock

# Before the sources, so that a change of code does not install everything anew.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/hullspeed \
    && uv pip sync --python /opt/hullspeed/bin/python --require-hashes requirements.lock

# The build backend's hashes stand in the lock of the development environment, of which nothing else is installed here.
COPY requirements-dev.lock pyproject.toml README.md LICENSE ./
COPY app ./app
COPY routers ./routers
COPY migrations ./migrations
RUN uv build --wheel --require-hashes --build-constraints requirements-dev.lock --out-dir /tmp/wheel \
    && uv pip install --python /opt/hullspeed/bin/python --no-deps /tmp/wheel/*.whl


FROM python:3.12-slim

# The embedded Postgres would run as root too, but nothing here needs to.
RUN useradd --uid 10001 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin hullspeed \
    && install --directory --mode 0700 --owner hullspeed --group hullspeed /data

COPY --from=build /opt/hullspeed /opt/hullspeed

# Serving on more than loopback needs a key: without HULLSPEED_API_KEY the container refuses to start.
# Without DATABASE_URL the ledger is an embedded Postgres below /data.
ENV PATH=/opt/hullspeed/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HULLSPEED_HOST=0.0.0.0 \
    HULLSPEED_PORT=8080 \
    HULLSPEED_DATA_DIR=/data \
    HULLSPEED_LOG_FORMAT=json

USER hullspeed
WORKDIR /data
VOLUME /data
EXPOSE 8080

# Asks past any proxy that the environment names for the providers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['HULLSPEED_PORT'] + '/healthz', timeout=4)"]

# Drains: streams end, the journal is flushed. Give it longer than HULLSPEED_DRAIN_SECONDS before killing it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["hullspeed"]
CMD ["serve"]
