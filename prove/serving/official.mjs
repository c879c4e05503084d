// The official JavaScript client's calls: node official.mjs MODULE URL; prints {"done": [...], "failed": [...]}.
import { createRequire } from "node:module";

const [, , library, url] = process.argv;
const { default: OpenAI, NotFoundError, BadRequestError } = await import(createRequire(import.meta.url).resolve(library));
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const model = "proof";
const messages = [{ role: "user", content: "Say hello." }];
const schema = {
  type: "object",
  properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name", "age"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
const done = [];
const failed = [];

async function attempt(name, call) {
  try {
    ((await call()) ? done : failed).push(name);
  } catch (error) {
    failed.push(`${name}: ${error}`);
  }
}

async function fails(kind, fields) {
  try {
    await client.chat.completions.create({ model, messages, ...fields });
    return false;
  } catch (error) {
    return error instanceof kind && error.code && error.message;
  }
}

const ask = (fields) => client.chat.completions.create({ model, messages, max_tokens: 12, temperature: 0, ...fields });

await attempt("models", async () => (await client.models.list()).data[0].id === model);
await attempt("model", async () => (await client.models.retrieve(model)).id === model);
await attempt("chat", async () => {
  const whole = await ask({ seed: 1, stop: ["zzz"] });
  return whole.choices[0].message.content && whole.usage.total_tokens > whole.usage.prompt_tokens;
});
await attempt("stream", async () => {
  let text = "";
  let usage = null;
  for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return text && usage.completion_tokens > 0 && usage.receipt.id;
});
await attempt("stream helper", async () => {
  const whole = await client.chat.completions.stream({ model, messages, max_tokens: 100 }).finalChatCompletion();
  return whole.choices[0].message.content;
});
await attempt("leaving a stream", async () => {
  const stream = await ask({ stream: true, max_tokens: 200 });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta?.content) break;
  }
  return true;
});
await attempt("completions", async () => (await client.completions.create({ model, prompt: "One, two,", max_tokens: 4 })).choices[0].text);
await attempt("logprobs", async () => {
  const whole = await ask({ logprobs: true, top_logprobs: 3 });
  return whole.choices[0].logprobs.content.every((step) => step.top_logprobs.length === 3);
});
await attempt("json schema", async () => {
  const format = { type: "json_schema", json_schema: { name: "person", schema, strict: true } };
  const whole = await ask({ max_tokens: 60, response_format: format });
  const value = JSON.parse(whole.choices[0].message.content);
  return typeof value.name === "string" && Number.isInteger(value.age);
});
await attempt("tools", async () => {
  const whole = await ask({ max_tokens: 60, tools, tool_choice: "required" });
  return JSON.parse(whole.choices[0].message.tool_calls[0].function.arguments).name !== undefined;
});
await attempt("replay", async () => {
  const [one, other] = [await ask({ replay: true }), await ask({ replay: true })];
  return one.choices[0].message.content === other.choices[0].message.content;
});
await attempt("unknown model", () => fails(NotFoundError, { model: "gpt-4" }));
await attempt("refused field", () => fails(BadRequestError, { id_slot: 1 }));

console.log(JSON.stringify({ done, failed }));
