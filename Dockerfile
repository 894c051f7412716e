# The gateway in a container: a small image without a shell, as a user without rights. README.md says how
# to run it.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package clawgate-cli
# The state as a new volume gets it: closed to others, with a config that listens for other containers.
RUN install -d -m 0700 /state && install -m 0600 packaging/container.json /state/openclaw.json

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/clawgate /usr/bin/clawgate
COPY --from=build --chown=nonroot:nonroot /state /state
COPY LICENSE /usr/share/doc/clawgate/
USER nonroot
ENV HOME=/state \
    OPENCLAW_STATE_DIR=/state
VOLUME /state
EXPOSE 18789
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/bin/clawgate", "health", "--timeout", "4000"]
ENTRYPOINT ["/usr/bin/clawgate"]
CMD ["gateway", "run"]
