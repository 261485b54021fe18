# One image for every service of docker-compose.yml: Airflow, the domain, the studies.
FROM python:3.11-slim-bookworm

# PyTorch's own index has the CPU build; the one on PyPI brings gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 50000 trialhouse \
    && mkdir /srv/trialhouse \
    && chown trialhouse /srv/trialhouse
WORKDIR /opt/trialhouse

# The pinned packages change less often than the code: a layer of their own.
COPY requirements.txt ./
RUN pip install --no-cache-dir uv==0.13.9 \
    && UV_INDEX_STRATEGY=unsafe-best-match uv pip install --system --no-cache --compile-bytecode --extra-index-url "$TORCH_INDEX" -r requirements.txt

COPY . ./
RUN uv pip install --system --no-cache --no-deps -e .

USER trialhouse
ENV AIRFLOW_HOME=/home/trialhouse/airflow \
    TRIALHOUSE_HOME=/srv/trialhouse \
    PYTHONUNBUFFERED=1
# Landed files, the warehouse, reports and logs: shared by all services.
VOLUME /srv/trialhouse
