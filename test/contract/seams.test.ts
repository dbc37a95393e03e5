/** The seams that are handed in: client and reliable do not import each other, so it is shown here that they fit. */
import type { Producer, TransactionListener, TransactionProducer } from '@tallystick/client';
import type { CheckedMessage, LocalTransactionTable, SyncHandle, Transport } from '@tallystick/reliable';
import { describe, expectTypeOf, it } from 'vitest';

describe('seams', () => {
  it('our producer is a Transport of the outbox relay', () => {
    expectTypeOf<Producer>().toExtend<Transport>();
  });

  it("the local-transaction table's listener is a TransactionListener", () => {
    type Listener = ReturnType<LocalTransactionTable<SyncHandle>['listener']>;
    expectTypeOf<Listener>().toExtend<Pick<TransactionListener, 'check'>>();
    expectTypeOf<{ check(message: CheckedMessage): Promise<'commit'> }>().toExtend<TransactionListener>();
  });

  it('a transaction producer is started before it is used', () => {
    expectTypeOf<TransactionProducer['start']>().returns.resolves.toBeVoid();
  });
});
