# One image for every part of Cutover; the command says which part runs.
FROM python:3.11-slim AS build
COPY requirements.lock /build/
RUN python -m venv /opt/cutover \
 && /opt/cutover/bin/pip install --no-cache-dir --require-hashes -r /build/requirements.lock
COPY pyproject.toml README.md LICENSE /build/
COPY pipeline /build/pipeline
COPY dashboards /build/dashboards
RUN /opt/cutover/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home cutover \
 && mkdir /data /plan && chown cutover /data /plan
COPY --from=build /opt/cutover /opt/cutover
ENV PATH=/opt/cutover/bin:$PATH PYTHONUNBUFFERED=1 CUTOVER_DATA=/data CUTOVER_PLAN=/plan/plan.yml
USER cutover
WORKDIR /data
ENTRYPOINT ["cutover"]
CMD ["--help"]
