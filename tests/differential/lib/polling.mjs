// A polling session, as a client sees it.
import { headersShown, shown } from "./show.mjs";

export class Polling {
  constructor(client, query, sid) {
    this.client = client;
    this.query = `${query}&transport=polling&sid=${sid}`;
    this.upgrade = `${query}&transport=websocket&sid=${sid}`;
    this.sid = sid;
  }

  /** A poll that is not waited for: `session.answer(poll)` does. */
  startPoll(options = {}) {
    const { query = "", ...rest } = options;
    const poll = this.client.send(this.query + query, { connection: this.getting, ...rest });
    poll.label = `poll${query}${labelled(rest)}`;
    return poll;
  }

  answer(sent, options) {
    return this.client.answer(sent, options);
  }

  async poll(options) {
    const poll = this.startPoll(options);
    const answer = await this.answer(poll);
    this.getting = poll.connection;
    return answer ?? { status: 0, headers: {}, body: Buffer.alloc(0) };
  }

  /** A poll that is to get nothing for now. */
  async pending(options) {
    const poll = this.startPoll({ connection: null, ...options });
    await this.client.quiet();
    if (poll.connection.bytes.length > 0 || poll.connection.ended) {
      this.client.log("  the poll did not wait");
    }
    return poll;
  }

  startPost(body, options = {}) {
    const { query = "", ...rest } = options;
    const headers = { "Content-Type": "text/plain;charset=UTF-8", ...rest.headers };
    const post = this.client.send(this.query + query, {
      method: "POST",
      connection: this.posting,
      body,
      ...rest,
      headers,
    });
    post.label = `post${query}${labelled(rest)} ${shown(Buffer.from(body))}`;
    return post;
  }

  async post(body, options) {
    const post = this.startPost(body, options);
    const answer = await this.answer(post);
    this.posting = post.connection;
    return answer ?? { status: 0, headers: {}, body: Buffer.alloc(0) };
  }

  /** What has become of it: an event comes back, or it is gone. */
  async alive() {
    const event = this.query.includes("EIO=4") ? '42["?"]' : '7:42["?"]';
    const post = await this.post(event);
    if (post.status === 200) {
      const poll = this.startPoll();
      await this.answer(poll);
      this.getting = poll.connection;
    }
  }

  /** A session without a namespace: is it there? */
  async there() {
    const poll = this.startPoll({ connection: null });
    await this.answer(poll, { quiet: true });
  }
}

function labelled({ headers = {}, method }) {
  return (method ? ` ${method}` : "") + headersShown(headers);
}
