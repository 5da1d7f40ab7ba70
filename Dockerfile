# syntax=docker/dockerfile:1
# Gateway, search workers and the command `mull` in one image; the engines run in vLLM's own images.
#   docker build --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" --tag mull .
# What it needs from outside is Debian's Python image and the package index; every package is checked against its hash.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY deploy/locks deploy/locks
# uv installs, hatchling builds; both are pinned in the lock for development.
RUN --mount=type=cache,target=/root/.cache/pip \
    awk '/^[^ ]/ {on = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers|uv)==/} on' deploy/locks/cpu.txt > tools.txt \
    && pip install --no-deps --require-hashes --requirement tools.txt
# The cache lies on another file system: links out of it are not possible. Bytecode, since the root may be read-only.
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv /app \
    && uv pip install --python /app --no-deps --require-hashes --requirement deploy/locks/base.txt
COPY . .
ARG COMMIT=unknown
# The commit is part of the version: `mull --version`, /openapi.json and the names under which results are kept have it.
RUN sed -i "s/^version = \"\(.*\)\"/version = \"\1+${COMMIT}\"/" pyproject.toml \
    && python -m hatchling build --target wheel \
    && uv pip install --python /app --no-deps --offline dist/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-log-init --create-home --home-dir /var/lib/mull mull
COPY --from=build /app /app
# Written to are only /var/lib/mull (keys, logs, state) and /tmp (sockets): mount both, and the root can be read-only.
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    MULL_STATE_DIR=/var/lib/mull \
    MULL_GATEWAY__HOST=0.0.0.0 \
    MULL_GATEWAY__PORT=8080
# `mull` reads the mull.yaml that is mounted here; without one it takes the configuration of the tiny pair.
WORKDIR /etc/mull
USER 10001:10001
EXPOSE 8080
# The gateway is alive. Whether it can answer is /readyz, which asks the engines.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; \
         r.urlopen(f'http://127.0.0.1:{os.environ[\"MULL_GATEWAY__PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["mull"]
CMD ["up"]
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Mull" \
      org.opencontainers.image.description="Inference that answers math questions by search, in front of vLLM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${COMMIT}"
