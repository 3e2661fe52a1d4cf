// Where we differ from Node, and why that is right. A line that is no longer true is an error.
export const known = {};
