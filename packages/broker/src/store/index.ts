export * from './append-message.ts';
export * from './control-records.ts';
export * from './options.ts';
export * from './packing.ts';
export * from './queue-ref.ts';
export * from './record-view.ts';
export * from './store-types.ts';
export * from './store.ts';
