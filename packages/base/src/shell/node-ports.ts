/**
 * The real world behind the ports: Node's clocks, timers, randomness, sockets and files. Everything here adapts and decides
 * nothing; core code never imports it.
 */
export { systemClock, systemRandom, systemTimers, systemTurn } from './node-time.ts';
export { duplexWire, parseAddress, socketWire, tcpDialer } from './node-wires.ts';
export { nodeDisk } from './node-disk.ts';
