// What pages of other origins are told.

const ORIGINS = ["http://a.example", "http://b.example", "http://elsewhere.example", "null", "http://a.example:80", "HTTP://A.EXAMPLE", ""];

const preflight = (headers = "x-custom") => ({
  "Access-Control-Request-Method": "POST",
  ...(headers ? { "Access-Control-Request-Headers": headers } : {}),
});

export default (test) => {
  for (const server of ["plain", "cors", "star"]) {
    test(`no origin (${server})`, server, (c) => c.request("EIO=4&transport=polling"));
    test(`preflight without an origin (${server})`, server, (c) => c.request("EIO=4&transport=polling", { method: "OPTIONS", headers: preflight() }));
    for (const origin of ORIGINS) {
      const Origin = origin;
      test(`origin ${JSON.stringify(origin)} (${server})`, server, (c) => c.request("EIO=4&transport=polling", { headers: { Origin } }));
      test(`preflight from ${JSON.stringify(origin)} (${server})`, server, (c) => c.request("EIO=4&transport=polling", { method: "OPTIONS", headers: { Origin, ...preflight() } }));
      test(`WebSocket from ${JSON.stringify(origin)} (${server})`, server, async (c) => {
        const socket = await c.ws("EIO=4", { headers: { Origin } });
        await socket.rest();
      });
    }
    test(`session of an allowed origin (${server})`, server, async (c) => {
      const headers = { Origin: "http://a.example" };
      const session = await c.open("EIO=4", { headers });
      await session.post("40", { headers });
      await session.poll({ headers });
      await session.post("4x", { headers });
      await session.post("3", { headers });
      await c.request("EIO=4&transport=polling&sid=nobody", { headers });
      await c.request("EIO=4&transport=nothing", { headers });
      await c.request("EIO=3&transport=polling", { headers });
    });
    test(`preflight without headers (${server})`, server, (c) => c.request("EIO=4&transport=polling", { method: "OPTIONS", headers: { Origin: "http://a.example", ...preflight("") } }));
    test(`preflight of many headers (${server})`, server, (c) => c.request("EIO=4&transport=polling", { method: "OPTIONS", headers: { Origin: "http://a.example", ...preflight("x-a, X-B,x-c") } }));
    test(`preflight for another method (${server})`, server, (c) => c.request("EIO=4&transport=polling", { method: "OPTIONS", headers: { Origin: "http://a.example", "Access-Control-Request-Method": "DELETE" } }));
    test(`OPTIONS that is no preflight (${server})`, server, (c) => c.request("EIO=4&transport=polling", { method: "OPTIONS", headers: { Origin: "http://a.example" } }));
    test(`preflight without a transport (${server})`, server, (c) => c.request("", { method: "OPTIONS", headers: { Origin: "http://a.example", ...preflight() } }));
    test(`private network preflight (${server})`, server, (c) => c.request("EIO=4&transport=polling", { method: "OPTIONS", headers: { Origin: "http://a.example", "Access-Control-Request-Private-Network": "true", ...preflight() } }));
  }
};
