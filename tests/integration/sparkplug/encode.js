// Payloads as a line of JSON each come in, as base64 of their protobuf they go out: an encoder that Millrace's tests share nothing with.
const spb = require('sparkplug-payload').get('spBv1.0');
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const payload = JSON.parse(line);
  process.stdout.write(Buffer.from(spb.encodePayload(payload)).toString('base64') + '\n');
});
