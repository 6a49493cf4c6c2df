import { generateKeyPairSync, sign } from 'node:crypto';

/** A fresh key with a certificate that it has signed itself, as Node's servers take them. @see RFC 5280, 4.1 */
export function selfSigned() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const [ecdsaWithSha256, commonName] = ['2a8648ce3d040302', '550403'].map((hex) =>
    der(OID, Buffer.from(hex, 'hex')),
  );
  const algorithm = der(SEQUENCE, ecdsaWithSha256);
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, commonName, der(TEXT, Buffer.from('localhost')))));
  const validity = der(
    SEQUENCE,
    ...['200101000000Z', '491231235959Z'].map((time) => der(TIME, Buffer.from(time))),
  );
  const key = publicKey.export({ type: 'spki', format: 'der' });
  const body = der(SEQUENCE, der(INTEGER, Buffer.from([1])), algorithm, name, validity, name, key);
  const signature = sign('sha256', body, privateKey);
  const certificate = der(SEQUENCE, body, algorithm, der(BITS, Buffer.from([0]), signature));
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64')}\n-----END CERTIFICATE-----\n`,
  };
}

const [SEQUENCE, SET, OID, INTEGER, BITS, TEXT, TIME] = [0x30, 0x31, 0x06, 0x02, 0x03, 0x0c, 0x17];

function der(tag, ...parts) {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}
