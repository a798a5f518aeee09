# Palaver's image: Python, what Palaver needs of it, and Palaver. No shell, no package manager, nobody but user 65532.
# `make image` builds it for one architecture or several. image/root.py decides what is in it; image/archive.py makes
# the same without a builder.
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY image/root.py image/root.py
RUN python image/root.py /image runtime
COPY requirements requirements
RUN python image/root.py /image packages
COPY pyproject.toml LICENSE ./
COPY services services
COPY operator operator
RUN python image/root.py /image application && mkdir -m 750 /image/data

FROM scratch
COPY --from=build /image/runtime /
COPY --from=build /image/packages /
COPY --from=build /image/application /
COPY --from=build --chown=65532:65532 /image/data /data
ENV PATH=/usr/local/bin \
    LANG=C.UTF-8 \
    PALAVER_DATA_DIR=/data \
    PALAVER_HOST=0.0.0.0 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /
EXPOSE 3000 7000 9090
VOLUME /data
ENTRYPOINT ["palaver"]
CMD ["serve"]
