# mcp-jobs over HTTP, as a user without rights. compose.yaml starts it with workers;
# docs/containers.md says how to add what your jobs need.

FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements ./requirements
RUN python -m venv /opt/mcp-jobs \
    && /opt/mcp-jobs/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY mcp_jobs ./mcp_jobs
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/mcp-jobs/bin/pip install --no-deps --no-index /dist/*.whl

FROM python:3.13-slim
# What most jobs need.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash git make \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 jobs \
    && useradd --uid 10001 --gid jobs --create-home --shell /bin/bash jobs \
    && install -d -m 0700 -o jobs -g jobs /var/lib/mcp-jobs \
    && install -d -m 0755 -o jobs -g jobs /work
COPY --from=build /opt/mcp-jobs /opt/mcp-jobs
ENV PATH=/opt/mcp-jobs/bin:/usr/local/bin:/usr/bin:/bin \
    MCP_JOBS_HOME=/var/lib/mcp-jobs \
    MCP_JOBS_HOST=0.0.0.0 \
    MCP_JOBS_PORT=8765
USER jobs
WORKDIR /work
VOLUME ["/var/lib/mcp-jobs", "/work"]
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/readyz', timeout=4)"]
ENTRYPOINT ["mcp-jobs"]
CMD ["serve", "--http"]
