// The half of runner.py that runs a handler of Node: asked on descriptor 3, it answers on descriptor 4, in the frames
// that are described there. Arguments: the folder of the agent's code, the handler ('index.processMessage').
"use strict";
const fs = require("fs");
const net = require("net");
const path = require("path");
const { pathToFileURL } = require("url");

const [folder, handler] = process.argv.slice(1);
const [ASKED, SAYS] = [3, 4];

function tell(kind, text) {
  const data = Buffer.from(text, "utf8");
  const head = Buffer.alloc(5);
  head.write(kind, 0, "latin1");
  head.writeUInt32BE(data.length, 1);
  const all = Buffer.concat([head, data]);
  for (let at = 0; at < all.length; ) at += fs.writeSync(SAYS, all, at);
}

function explained(error) {
  console.error(error);
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

async function loaded() {
  const at = handler.lastIndexOf(".");
  const [stem, name] = [path.join(folder, handler.slice(0, at)), handler.slice(at + 1)];
  const files = [".js", ".mjs", ".cjs", "/index.js"].map((end) => stem + end);
  const file = files.find((one) => fs.existsSync(one)) ?? files[0];
  const made = await import(pathToFileURL(file));
  const found = made[name] ?? made.default?.[name];
  if (typeof found !== "function") throw new TypeError(`'${handler}' is no function`);
  return found;
}

async function answer(found, [message, session_id, space, created_by, seconds]) {
  const context = { session_id, space, created_by, timestamp: Number(seconds) };
  try {
    const result = await found(message, context);
    if (typeof result === "string") return ["=", result];
    return ["!", `the handler returned ${result === null ? "null" : typeof result}, not a string`];
  } catch (error) {
    return ["!", explained(error)];
  }
}

function texts(body) {
  const found = [];
  for (let at = 0; at < body.length; ) {
    const size = body.readUInt32BE(at);
    found.push(body.toString("utf8", at + 4, at + 4 + size));
    at += 4 + size;
  }
  return found;
}

// One question at a time; what comes before the handler is loaded waits.
const loading = loaded().catch((error) => `'${handler}' cannot be loaded: ${explained(error)}`);
let heard = Buffer.alloc(0);
let last = Promise.resolve();

async function take(body) {
  const found = await loading;
  if (typeof found === "string") {
    tell("?", found);
    process.exit(1);
  }
  tell(...(await answer(found, texts(body))));
}

new net.Socket({ fd: ASKED, readable: true, writable: false })
  .on("data", (data) => {
    heard = Buffer.concat([heard, data]);
    while (heard.length >= 4 && heard.length >= 4 + heard.readUInt32BE(0)) {
      const size = heard.readUInt32BE(0);
      const body = heard.subarray(4, 4 + size);
      heard = heard.subarray(4 + size);
      last = last.then(() => take(body));
    }
  })
  .on("close", () => process.exit(0));
