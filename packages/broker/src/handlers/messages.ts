import { ResponseCode } from '@tallystick/remoting';
import { RecordView } from '../store/record-view.ts';
import { isPullForbidden } from '../topics/system-topics.ts';
import type { Parts } from './parts.ts';
import { cold, type HandlerTable } from './reply.ts';

/** Single messages: by their place in the log (33), by key (12, not kept yet). */
export function messageHandlers(parts: Parts): HandlerTable {
  const view = new RecordView();
  return {
    VIEW_MESSAGE_BY_ID: cold('VIEW_MESSAGE_BY_ID', ({ offset }, reply) => {
      parts.store.readRecord(offset, (error, bytes) => {
        // What is out of consumers' sight stays so here: a half message is nobody's before its verdict.
        const hidden = error === undefined && isPullForbidden(view.move(bytes, 0, bytes.length, offset).topic());
        if (error !== undefined || hidden) reply.fail(ResponseCode.SYSTEM_ERROR, `can not find message by the offset, ${offset}`);
        else reply.ok(undefined, bytes);
      });
    }),

    QUERY_MESSAGE: cold('QUERY_MESSAGE', (_header, reply) =>
      reply.fail(
        ResponseCode.QUERY_NOT_FOUND,
        'can not find message, maybe time range not correct (this broker keeps no index of keys)',
      ),
    ),
  };
}
