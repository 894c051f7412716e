// Drives the published gateway client on behalf of a test.
//
// Reads one command per line on stdin and writes what the client does, one JSON object per line, on
// stdout. The test decides what happens and in which order; nothing here waits for time to pass.
//
// Commands carry `client`, a name that the test chooses for a connection:
//   {"do":"start","client":"a","options":{…},"device":"<64 hex digits>"}
//   {"do":"call","client":"a","calls":[{"id":"1","method":"health","params":{},"padding":0,"options":{}}]}
//   {"do":"drop","client":"a"} ends its connection as a lost network does
//   {"do":"stop","client":"a"}
// Reports carry `client` and `saw`:
//   hello, event, gap, answer, connect-error, reconnect-paused, close, device-token, received, sent,
//   stopped, driver-error
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { createInterface } from "node:readline";

import { GatewayClient } from "@openclaw/gateway-client";
import { WebSocket } from "ws";

// An Ed25519 private key in PKCS #8 is this prefix followed by the 32 bytes of the seed.
const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");

const clients = new Map();
// What a client keeps on disk between runs: here, for as long as the driver runs.
const deviceTokens = new Map();
const socketOwner = new WeakMap();
const sockets = new Map();
let starting;

function report(client, saw, fields = {}) {
  process.stdout.write(`${JSON.stringify({ client, saw, ...fields })}\n`);
}

function describeError(error) {
  return {
    name: error.name,
    message: error.message,
    code: error.gatewayCode ?? error.code,
    details: error.details,
    retryable: error.retryable,
    retryAfterMs: error.retryAfterMs,
  };
}

// The raw frames are what the published schema is about, so they are taken at the socket, before the
// client has parsed or dropped anything.
function tapSockets() {
  const { emit, send } = WebSocket.prototype;
  WebSocket.prototype.emit = function (name, ...args) {
    const owner = socketOwner.get(this);
    if (owner && name === "message") {
      report(owner, "received", { text: args[0].toString("utf8"), binary: args[1] === true });
    }
    return emit.call(this, name, ...args);
  };
  WebSocket.prototype.send = function (data, ...args) {
    const owner = socketOwner.get(this);
    if (owner && data.length <= 65536) {
      report(owner, "sent", { text: String(data) });
    }
    return send.call(this, data, ...args);
  };
}

function rawPublicKey(pem) {
  return createPublicKey(pem).export({ format: "jwk" }).x;
}

function deviceFromSeed(hex) {
  const key = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519, Buffer.from(hex, "hex")]),
    format: "der",
    type: "pkcs8",
  });
  const publicKeyPem = createPublicKey(key).export({ format: "pem", type: "spki" });
  return {
    deviceId: createHash("sha256")
      .update(Buffer.from(rawPublicKey(publicKeyPem), "base64url"))
      .digest("hex"),
    privateKeyPem: key.export({ format: "pem", type: "pkcs8" }),
    publicKeyPem,
  };
}

function hostDeps(client) {
  return {
    signDevicePayload: (pem, payload) => sign(null, Buffer.from(payload), pem).toString("base64url"),
    publicKeyRawBase64UrlFromPem: rawPublicKey,
    loadDeviceAuthToken: ({ deviceId, role }) => deviceTokens.get(`${deviceId} ${role}`) ?? null,
    storeDeviceAuthToken: ({ deviceId, role, token, scopes }) => {
      deviceTokens.set(`${deviceId} ${role}`, { token, scopes });
      report(client, "device-token", { deviceId, role, scopes });
    },
    clearDeviceAuthToken: ({ deviceId, role }) => deviceTokens.delete(`${deviceId} ${role}`),
    // Called just before each socket is made, which is how a socket finds its client.
    beforeConnect: () => {
      starting = client;
    },
  };
}

function start({ client, options, device }) {
  const connection = new GatewayClient({
    ...options,
    env: {},
    deviceIdentity: device ? deviceFromSeed(device) : null,
    hostDeps: hostDeps(client),
    onHelloOk: (hello) => report(client, "hello", { hello }),
    onEvent: (event) => report(client, "event", { event }),
    onGap: (gap) => report(client, "gap", gap),
    onConnectError: (error) => report(client, "connect-error", { error: describeError(error) }),
    onReconnectPaused: (paused) => report(client, "reconnect-paused", paused),
    onClose: (code, reason, info) =>
      report(client, "close", {
        code,
        reason,
        phase: info?.phase,
        transientPreHelloCleanClose: info?.transientPreHelloCleanClose,
      }),
  });
  clients.set(client, connection);
  connection.start();
}

// All calls of one command leave in one turn of the event loop, before any answer can be read.
function call({ client, calls }) {
  for (const { id, method, params, padding, options } of calls) {
    const body = padding ? { ...params, padding: "x".repeat(padding) } : params;
    clients
      .get(client)
      .request(method, body, options)
      .then((payload) => report(client, "answer", { id, ok: true, payload }))
      .catch((error) => report(client, "answer", { id, ok: false, error: describeError(error) }));
  }
}

function drop({ client }) {
  sockets.get(client).terminate();
}

async function stop({ client }) {
  await clients.get(client).stopAndWait();
  report(client, "stopped");
}

const commands = { start, call, drop, stop };

// `ws` constructs the socket, then the client adds its listeners: the first listener added after
// `beforeConnect` marks the socket as belonging to the client that is starting.
const { on } = WebSocket.prototype;
WebSocket.prototype.on = function (...args) {
  if (starting !== undefined) {
    socketOwner.set(this, starting);
    sockets.set(starting, this);
    starting = undefined;
  }
  return on.apply(this, args);
};
tapSockets();

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  Promise.resolve()
    .then(() => commands[command.do](command))
    .catch((error) => report(command.client, "driver-error", { message: String(error) }));
}
process.exit(0);
