# The server of tfdeblur with its preset, for a CPU or an NVIDIA GPU:
#   docker build -t tfdeblur .
#   docker build -t tfdeblur-gpu --build-arg DEVICE=gpu .
#   docker run --rm -p 8000:8000 tfdeblur
# It has not been built where this project is developed, which has no Docker.

FROM python:3.12-slim AS build
# An extra of setup.cfg: cpu or gpu. TensorFlow's wheels bring CUDA's libraries.
ARG DEVICE=cpu
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY tfdeblur tfdeblur
COPY data_prep data_prep
RUN python -m venv /opt/tfdeblur \
    && /opt/tfdeblur/bin/python -m pip install --no-cache-dir ".[${DEVICE},heif,serve]"

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 tfdeblur
COPY --from=build /opt/tfdeblur /opt/tfdeblur
ENV PATH="/opt/tfdeblur/bin:${PATH}" \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/tfdeblur
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
# Other commands: docker run --rm -v "$PWD:/photos" tfdeblur tfdeblur.deblur /photos/photo.jpg ...
ENTRYPOINT ["python", "-m"]
CMD ["tfdeblur.serve", "--host", "0.0.0.0"]
