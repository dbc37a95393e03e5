import { crc32 } from '@tallystick/base';
import { ResponseCode } from '@tallystick/remoting';
import { decodeDataVersion, decodeRegisterBody, encodeDataVersion, sameVersion } from '../registration/register-body.ts';
import type { Parts } from './parts.ts';
import { cold, type HandlerTable } from './reply.ts';

/** Brokers that use this one as their name server: they come (103), ask whether they are known (322) and go (104). */
export function registrationHandlers(parts: Parts): HandlerTable {
  const { registered, options, clock } = parts;
  return {
    REGISTER_BROKER: cold('REGISTER_BROKER', (header, reply, frame) => {
      const bytes = frame.body();
      const fail = (text: string): void => reply.fail(ResponseCode.SYSTEM_ERROR, `REGISTER_BROKER: ${text}`);
      if (header.compressed === true) return fail('a compressed body is not understood; set compressedRegister=false');
      if ((header.bodyCrc32 ?? 0) !== 0 && header.bodyCrc32 !== (crc32(bytes) & 0x7fffffff))
        return fail('crc32 of the body differs');
      const body = bytes.length === 0 ? undefined : decodeRegisterBody(bytes, options.topicsMax);
      if (typeof body === 'string') return fail(body);
      const { brokerName, clusterName, brokerId, brokerAddr: address, heartbeatTimeoutMillis: timeoutMs } = header;
      const registration = { brokerName, clusterName, brokerId, address, timeoutMs, peer: reply.peer };
      const refusal = registered.register(registration, body, clock.monotonic());
      if (refusal !== undefined) return fail(refusal);
      reply.ok({ haServerAddr: '', masterAddr: brokerId === 0 ? '' : registered.masterOf(brokerName) });
    }),

    UNREGISTER_BROKER: cold('UNREGISTER_BROKER', ({ brokerName, brokerId, brokerAddr }, reply) => {
      registered.unregister(brokerName, brokerId, brokerAddr);
      reply.ok();
    }),

    QUERY_DATA_VERSION: cold('QUERY_DATA_VERSION', ({ brokerName, brokerId, brokerAddr }, reply, frame) => {
      const asked = decodeDataVersion(frame.body());
      const known = registered.versionOf(brokerName, brokerId, brokerAddr, clock.monotonic());
      const changed = typeof asked === 'string' || known === undefined || !sameVersion(asked, known);
      reply.ok({ changed }, known === undefined ? undefined : encodeDataVersion(known));
    }),
  };
}
