// Decodes Sparkplug payloads with the npm library, for a test: a line of base64 in, a line of JSON out.
const decoder = require("sparkplug-payload").get("spBv1.0");
const plain = (key, value) => {
  if (value && typeof value === "object" && "low" in value && "high" in value) return value.high * 4294967296 + (value.low >>> 0);
  return value && value.type === "Buffer" ? value.data : value;
};
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  let out;
  try {
    out = decoder.decodePayload(Buffer.from(line, "base64"));
  } catch (error) {
    out = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(out, plain) + "\n");
});
