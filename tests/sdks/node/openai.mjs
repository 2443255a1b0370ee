import OpenAI from "openai";
import { FLAKY, SCHEMA, STATUSES, broken, collect, failure, inOrder, key, options, tell, train, url } from "./told.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, ...options });
const once = client.withOptions({ maxRetries: 0 });
const chat = client.chat.completions;
const ask = (text, more = {}) => ({ model: "m-1", messages: [{ role: "user", content: text }], ...more });
const respond = (text, more = {}) => ({ model: "m-1", input: text, ...more });

const tools = [{ type: "function", function: { name: "weather", parameters: SCHEMA } }];
const toolsToo = [{ type: "function", name: "weather", parameters: SCHEMA, strict: false }];
const plain = await chat.create(ask("héllo"));
const chunks = await collect(await chat.create(ask("héllo", { stream: true, stream_options: { include_usage: true } })));
const response = await client.responses.create(respond("héllo"));
const events = await collect(await client.responses.create(respond("héllo", { stream: true })));
const called = (await client.responses.create(respond("tool", { tools: toolsToo }))).output[0];
const tool = await chat.create(ask("tool", { tools }));
const toolChunks = await collect(await chat.create(ask("tool", { tools, stream: true })));
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let aborted;
for await (const event of await chat.create(ask(`endless ${train}`, { stream: true }))) {
  aborted = event.object;
  break; // the SDK then ends the request
}
const responseEvents = await collect(await client.responses.create(respond("tool", { tools: toolsToo, stream: true })));
const streamedCall = responseEvents.at(-1).response.output[0];
let abortedResponse;
for await (const event of await client.responses.create(respond(`endless response ${train}`, { stream: true }))) {
  abortedResponse = event.type;
  break;
}

tell({
  plain: [
    plain.choices[0].message.content,
    plain.usage.prompt_tokens,
    plain.usage.completion_tokens,
    plain._request_id,
  ],
  stream: [
    chunks.slice(1, -2).map((chunk) => chunk.choices[0].delta.content),
    chunks.at(-2).choices[0].finish_reason,
    chunks.at(-1).usage.completion_tokens,
  ],
  tool: JSON.parse(tool.choices[0].message.tool_calls[0].function.arguments),
  "streamed tool": JSON.parse(
    toolChunks
      .slice(0, 3)
      .map((chunk) => chunk.choices[0].delta.tool_calls[0].function.arguments)
      .join(""),
  ),
  response: [response.output_text, response.usage.output_tokens, response._request_id],
  "response stream": events.map((event) => event.type),
  "response tool": [called.type, JSON.parse(called.arguments)],
  models,
  model: (await client.models.retrieve("m-1")).id,
  flaky: await inOrder(
    FLAKY,
    async (status) => (await chat.create(ask(`flaky ${status} ${train}`))).choices[0].message.content,
  ),
  aborted,
  broken: await broken(OpenAI, () => once.chat.completions.create(ask("broken", { stream: true }))),
  overloaded: await broken(OpenAI, () => once.chat.completions.create(ask("overloaded", { stream: true }))),
  "streamed response tool": [streamedCall.type, JSON.parse(streamedCall.arguments)],
  "flaky response": await inOrder(
    FLAKY,
    async (status) => (await client.responses.create(respond(`flaky ${status} response ${train}`))).output_text,
  ),
  "aborted response": abortedResponse,
  "overloaded response": await broken(OpenAI, () => once.responses.create(respond("overloaded", { stream: true }))),
  "response errors": await inOrder(STATUSES, (status) =>
    failure(OpenAI, () => once.responses.create(respond(`error ${status}`))),
  ),
  "broken response": await broken(OpenAI, () => once.responses.create(respond("broken", { stream: true }))),
  errors: await inOrder(STATUSES, (status) =>
    failure(OpenAI, () => once.chat.completions.create(ask(`error ${status}`))),
  ),
});
