// What both programs share: telling errors, and the result, as tests/sdks/calls.py does.

export const [, , url, key, train] = process.argv;
export const STATUSES = [400, 401, 403, 404, 422, 429, 500, 529];
export const FLAKY = [429, 503, 529];
export const SCHEMA = { type: "object", properties: { city: { type: "string" } } };
export const options = { defaultHeaders: { "MSL-Train-Id": train }, maxRetries: 2 };

export async function collect(stream) {
  const found = [];
  for await (const item of stream) found.push(item);
  return found;
}

export async function broken(sdk, call) {
  try {
    await collect(await call());
  } catch (error) {
    if (error instanceof sdk.APIError) return "APIError";
    throw error;
  }
  return "no error";
}

export async function inOrder(items, call) {
  const found = [];
  for (const item of items) found.push(await call(item));
  return found;
}

export async function failure(sdk, call) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof sdk.APIError)) throw error;
    const body = error.error?.error ?? error.error;
    return [error.constructor.name, error.status, body.type, error.requestID];
  }
  throw new Error("no error");
}

export function tell(told) {
  process.stdout.write(JSON.stringify(told));
}
