console.log("tallystick");export {};
