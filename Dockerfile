ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY sanic_ws sanic_ws
RUN python -m venv /opt/sanic-ws && /opt/sanic-ws/bin/pip install --no-compile -c constraints.txt '.[otel]'

FROM ${PYTHON}
COPY --from=build /opt/sanic-ws /opt/sanic-ws
# HOST: what a container listens on is limited by what it publishes.
ENV PATH=/opt/sanic-ws/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SANIC_WS_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('SANIC_WS_PORT', '8000') + '/livez', timeout=4)"]
# Exec form: the process has to get SIGTERM itself.
ENTRYPOINT ["sanic-ws"]
CMD ["serve"]
