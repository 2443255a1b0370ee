import Anthropic from "@anthropic-ai/sdk";
import { FLAKY, SCHEMA, STATUSES, broken, failure, inOrder, key, options, tell, train, url } from "./told.mjs";

const client = new Anthropic({ baseURL: url, authToken: key, apiKey: null, ...options });
const once = client.withOptions({ maxRetries: 0 });
const ask = (text, more = {}) => ({
  model: "m-1",
  max_tokens: 9,
  messages: [{ role: "user", content: text }],
  ...more,
});

const plain = await client.messages.create(ask("héllo"));
const stream = client.messages.stream(ask("héllo"));
const pieces = [];
stream.on("text", (piece) => pieces.push(piece));
const streamed = await stream.finalMessage();
const tools = [{ name: "weather", input_schema: SCHEMA }];
const tool = await client.messages.create(ask("tool", { tools }));
const streamedTool = await client.messages.stream(ask("tool", { tools })).finalMessage();
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const endless = await client.messages.create(ask(`endless ${train}`, { stream: true }));
let aborted;
for await (const event of endless) {
  aborted = event.type;
  break; // the SDK then ends the request
}

tell({
  plain: [plain.content[0].text, plain.usage.input_tokens, plain.usage.output_tokens, plain._request_id],
  stream: [pieces, streamed.stop_reason, streamed.usage.output_tokens],
  tool: [tool.stop_reason, tool.content[0].input],
  "streamed tool": [streamedTool.stop_reason, streamedTool.content[0].input],
  tokens: (await client.messages.countTokens({ model: "m-1", messages: ask("x").messages })).input_tokens,
  models,
  model: (await client.models.retrieve("m-1")).id,
  flaky: await inOrder(
    FLAKY,
    async (status) => (await client.messages.create(ask(`flaky ${status} ${train}`))).content[0].text,
  ),
  aborted,
  broken: await broken(Anthropic, () => once.messages.create(ask("broken", { stream: true }))),
  overloaded: await broken(Anthropic, () => once.messages.create(ask("overloaded", { stream: true }))),
  errors: await inOrder(STATUSES, (status) => failure(Anthropic, () => once.messages.create(ask(`error ${status}`)))),
});
