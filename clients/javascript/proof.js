// Proof of work of an order: a text with which SHA-256 of `<idempotency key>:<text>` begins with zero bits.
//
// Guarantees: found in slices so short that a page stays responsive; a signal ends the search. SHA-256 is written out
// because WebCrypto takes a task for each call, which makes a try seven times slower. Not for what has to be secret.

/** A page does not answer its user for so long at most. */
const SLICE_MS = 25;
/** Of the text, so that only these bytes of the message change. */
const DIGITS = 12;
const ZERO = 48;

const PRIMES = [];
for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every((prime) => n % prime)) PRIMES.push(n);
// FIPS 180-4: the first 32 bits of the fractional parts of roots.
const fraction = (root) => (root % 1) * 2 ** 32;
const FIRST = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const ROUNDS = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));
const WORDS = new Int32Array(64);

/** Tries 2 ** bits texts on average, some 500 in a millisecond. The quotes of a quoted key do not count. */
export async function findProof(key, bits, signal) {
  const bare = key.replace(/^"(.*)"$/, (_, quoted) => quoted.replace(/\\(.)/g, "$1"));
  const head = new TextEncoder().encode(`${bare}:`);
  const size = head.length + DIGITS;
  // With its padding: a bit, zeros, the size in bits, in blocks of 64 bytes.
  const message = new Uint8Array(Math.ceil((size + 9) / 64) * 64);
  const view = new DataView(message.buffer);
  message.set(head);
  message.fill(ZERO, head.length, size);
  message[size] = 0x80;
  view.setUint32(message.length - 4, size * 8);
  for (let tries = 0, until = performance.now() + SLICE_MS; Math.clz32(sha256(view)[0]) < bits; tries++) {
    // The next number.
    let digit = size - 1;
    while (message[digit] === ZERO + 9) message[digit--] = ZERO;
    message[digit]++;
    if (tries % 64 === 0 && performance.now() > until) {
      await new Promise((resolve) => setTimeout(resolve));
      signal?.throwIfAborted();
      until = performance.now() + SLICE_MS;
    }
  }
  return String.fromCharCode(...message.subarray(head.length, size));
}

/** The words of the hash of a padded message. */
function sha256(message) {
  const w = WORDS;
  let state = FIRST;
  for (let block = 0; block < message.byteLength; block += 64) {
    for (let t = 0; t < 16; t++) w[t] = message.getInt32(block + 4 * t);
    for (let t = 16; t < 64; t++) {
      const [x, y] = [w[t - 15], w[t - 2]];
      const one = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      w[t] = w[t - 16] + one + w[t - 7] + (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let t = 0; t < 64; t++) {
      const mixed = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const one = (h + mixed + ((e & f) ^ (~e & g)) + ROUNDS[t] + w[t]) | 0;
      const two = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two + ((a & b) ^ (a & c) ^ (b & c))) | 0];
    }
    state = [a, b, c, d, e, f, g, h].map((word, place) => word + state[place]);
  }
  return state;
}
