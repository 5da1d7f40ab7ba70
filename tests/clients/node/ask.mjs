// Items of the conformance list, asked with the official Node client.
//
//   node ask.mjs < {"items": […], "urls": {"stack": "http://…", …}}
//
// prints a JSON list: of each item what came of it, `reply`, `chunks` or `error`.
import OpenAI from "openai";
import { text } from "node:stream/consumers";

// What the two clients name differently.
const CLASSES = { APIConnectionTimeoutError: "timeout", APIUserAbortError: "cancelled" };

// What comes of a job that is cancelled, or followed to its end and read once more from the middle.
async function job({ responses }, item) {
  const made = await responses.create({ ...item.body, background: true });
  if (item.job === "cancel") {
    const cancelled = await responses.cancel(made.id);
    return { reply: { made: made.status, cancelled: cancelled.status } };
  }
  const events = async (query) => {
    const told = [];
    for await (const event of await responses.retrieve(made.id, { stream: true, ...query })) told.push(event);
    return told;
  };
  const told = await events({});
  const middle = told[Math.floor(told.length / 2)].sequence_number;
  const rest = await events({ starting_after: middle });
  const done = await responses.retrieve(made.id);
  const text = done.output.flatMap((part) => part.content ?? []).map((part) => part.text).join("");
  const deltas = told.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  return {
    reply: {
      made: made.status,
      first: told[0].type,
      last: told.at(-1).type,
      resumed: JSON.stringify(rest) === JSON.stringify(told.filter((event) => event.sequence_number > middle)),
      status: done.status,
      text,
      streamed: deltas.join("") === text,
    },
  };
}

async function answer(client, item, options) {
  if (item.job) return job(client, item);
  const names = item.call.split(".");
  const name = names.pop();
  const resource = names.reduce((part, next) => part[next], client);
  const given = [...(item.args ?? []), ...(item.body ? [item.body] : [])];
  if (item.raw) {
    const { data, response } = await resource[name](...given, options).withResponse();
    return { reply: data, headers: Object.fromEntries(response.headers) };
  }
  const answered = await resource[name](...given, options);
  if (item.body?.stream) {
    const chunks = [];
    for await (const chunk of answered) chunks.push(chunk);
    // An aborted stream ends quietly in this client.
    if (options.signal?.aborted) throw new OpenAI.APIUserAbortError();
    return { chunks };
  }
  // A page holds more than its JSON.
  return { reply: name === "list" ? { object: answered.object, data: answered.data } : answered };
}

async function ask(item, url) {
  const client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: item.key ?? "none",
    timeout: (item.timeout_s ?? 60) * 1000,
    maxRetries: item.max_retries ?? 0,
  });
  const options = { headers: item.headers };
  if (item.cancel_after_s) options.signal = AbortSignal.timeout(item.cancel_after_s * 1000);
  try {
    return await answer(client, item, options);
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const { status, type, code, param, requestID: request_id } = error;
    const name = error.constructor.name;
    return { error: { class: CLASSES[name] ?? name, status, type, code, param, request_id } };
  }
}

const { items, urls } = JSON.parse(await text(process.stdin));
const outcomes = [];
for (const item of items) {
  const came = [];
  for (let time = 0; time < (item.times ?? 1); time++) came.push(await ask(item, urls[item.server ?? "stack"]));
  outcomes.push(came);
}
console.log(JSON.stringify(outcomes));
