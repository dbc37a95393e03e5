export * from './errors.ts';
export * from './transports/transport.ts';
