//! What Node's adapters of versions 7.2.0 and 8.3.0 sent, as it was taken from Redis: two servers of one version, each
//! with one client, in the rooms "room" and 42.

/// On which channel, and what: JSON as it is, msgpack in base64.
pub(super) type Captured = [(&'static str, &'static str, &'static str)];

pub(super) const SEVEN: &Captured = &[
    (
        "all",
        "socket.io#/#",
        "k6ZxVkJjcmGDpHR5cGUCpGRhdGGUpWhlbGxvAaLDqYGhYZXDwMs/+AAAAAAAAP3Pa8deLWMQAACjbnNwoS+DpXJvb21zkKZleGNlcHSQpWZsYWdzgA==",
    ),
    (
        "room",
        "socket.io#/#room#",
        "k6ZxVkJjcmGDpHR5cGUCpGRhdGGRpWhlbGxvo25zcKEvg6Vyb29tc5Gkcm9vbaZleGNlcHSQpWZsYWdzgA==",
    ),
    (
        "int room",
        "socket.io#/#42#",
        "k6ZxVkJjcmGDpHR5cGUCpGRhdGGRpWhlbGxvo25zcKEvg6Vyb29tc5EqpmV4Y2VwdJClZmxhZ3OA",
    ),
    (
        "two rooms except",
        "socket.io#/#",
        "k6ZxVkJjcmGDpHR5cGUCpGRhdGGSpWhlbGxvxAIA/6Nuc3ChL4Olcm9vbXOSpHJvb22hYqZleGNlcHSRoWOlZmxhZ3OA",
    ),
    (
        "dialect",
        "socket.io#/#",
        "k6ZxVkJjcmGDpHR5cGUCpGRhdGGVoWTXAAAAAYvP5Wh71AAAxwMAAQIDxwIAAACjbnNwoS+DpXJvb21zkKZleGNlcHSQpWZsYWdzgA==",
    ),
    (
        "volatile flags",
        "socket.io#/#",
        "k6ZxVkJjcmGDpHR5cGUCpGRhdGGRoXajbnNwoS+DpXJvb21zkKZleGNlcHSQpWZsYWdzgqh2b2xhdGlsZcOoY29tcHJlc3PC",
    ),
    (
        "chat",
        "socket.io#/chat#x#y#",
        "k6ZCcEZzWFKDpHR5cGUCpGRhdGGRpWhlbGxvo25zcKUvY2hhdIOlcm9vbXORo3gjeaZleGNlcHSQpWZsYWdzgA==",
    ),
    (
        "socket broadcast",
        "socket.io#/#",
        "k6ZxVkJjcmGDpHR5cGUCpGRhdGGRoWKjbnNwoS+DpXJvb21zkKZleGNlcHSRtFJMUHM3S3U2SmdwVGFJeWVBQUFBpWZsYWdzgA==",
    ),
    (
        "fetch",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"MBd0wN","type":5,"opts":{"rooms":[],"except":[]}}"#,
    ),
    (
        "fetch 1",
        "socket.io-response#/#",
        r#"{"requestId":"MBd0wN","sockets":[{"id":"ufLZMATbMUOwy-f1AAAB","handshake":{"headers":{"host":"127.0.0.1:33649"},"time":"Fri Nov 27 2026 12:51:05 GMT+0000 (Coordinated Universal Time)","address":"127.0.0.1","xdomain":false,"secure":false,"issued":1795783865763,"url":"/socket.io/?EIO=4&transport=websocket","query":{"EIO":"4","transport":"websocket"},"auth":{}},"rooms":["ufLZMATbMUOwy-f1AAAB","room",42],"data":{"n":1}}]}"#,
    ),
    (
        "fetch rooms",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"KMHrEs","type":5,"opts":{"rooms":["room"],"except":["x"]}}"#,
    ),
    (
        "fetch rooms 1",
        "socket.io-response#/#",
        r#"{"requestId":"KMHrEs","sockets":[{"id":"ufLZMATbMUOwy-f1AAAB","handshake":{"headers":{"host":"127.0.0.1:33649"},"time":"Fri Nov 27 2026 12:51:05 GMT+0000 (Coordinated Universal Time)","address":"127.0.0.1","xdomain":false,"secure":false,"issued":1795783865763,"url":"/socket.io/?EIO=4&transport=websocket","query":{"EIO":"4","transport":"websocket"},"auth":{}},"rooms":["ufLZMATbMUOwy-f1AAAB","room",42],"data":{"n":1}}]}"#,
    ),
    (
        "join",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","type":2,"opts":{"rooms":["room"],"except":[]},"rooms":["n","m"]}"#,
    ),
    (
        "leave",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","type":3,"opts":{"rooms":[],"except":[]},"rooms":["n"]}"#,
    ),
    (
        "sse",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","type":6,"data":["hello","w",1]}"#,
    ),
    (
        "sse ack",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"WB4YzK","type":6,"data":["add",1,2]}"#,
    ),
    (
        "sse ack 1",
        "socket.io-response#/#",
        r#"{"type":6,"requestId":"WB4YzK","data":3}"#,
    ),
    (
        "ack",
        "socket.io-request#/#",
        "haN1aWSmcVZCY3JhqXJlcXVlc3RJZKZmR0FZS0+kdHlwZQemcGFja2V0g6R0eXBlAqRkYXRhkqNhY2vEAQmjbnNwoS+kb3B0c4Olcm9vbXOQpmV4Y2VwdJClZmxhZ3OBp3RpbWVvdXTNA+g=",
    ),
    (
        "ack 1",
        "socket.io-response#/#",
        r#"{"type":8,"requestId":"fGAYKO","clientCount":1}"#,
    ),
    (
        "ack 2",
        "socket.io-response#/#",
        "g6R0eXBlCalyZXF1ZXN0SWSmZkdBWUtPpnBhY2tldMQCAQI=",
    ),
    (
        "ask",
        "socket.io-request#/#",
        "haN1aWSmcVZCY3JhqXJlcXVlc3RJZKZ3eFliSnikdHlwZQemcGFja2V0g6R0eXBlAqRkYXRhkqNhc2sHo25zcKEvpG9wdHODpXJvb21zkKZleGNlcHSQpWZsYWdzgad0aW1lb3V0zQPo",
    ),
    (
        "ask 1",
        "socket.io-response#/#",
        r#"{"type":8,"requestId":"wxYbJx","clientCount":1}"#,
    ),
    (
        "ask 2",
        "socket.io-response#/#",
        "g6R0eXBlCalyZXF1ZXN0SWSmd3hZYkp4pnBhY2tldIKhdgeiYXSmY2xpZW50",
    ),
    (
        "allrooms",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"oICuPS","type":1}"#,
    ),
    (
        "allrooms 1",
        "socket.io-response#/#",
        r#"{"requestId":"oICuPS","rooms":["ufLZMATbMUOwy-f1AAAB","room",42,"m"]}"#,
    ),
    (
        "allSockets",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"oBg7OJ","type":0,"rooms":["room"]}"#,
    ),
    (
        "allSockets 1",
        "socket.io-response#/#",
        r#"{"requestId":"oBg7OJ","sockets":["ufLZMATbMUOwy-f1AAAB"]}"#,
    ),
    (
        "remoteJoin",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"TABr1A","type":2,"sid":"ufLZMATbMUOwy-f1AAAB","room":"r2"}"#,
    ),
    (
        "remoteJoin 1",
        "socket.io-response#/#",
        r#"{"requestId":"TABr1A"}"#,
    ),
    (
        "remoteJoin 2",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"aoiFX3","type":3,"sid":"ufLZMATbMUOwy-f1AAAB","room":"r2"}"#,
    ),
    (
        "remoteJoin 3",
        "socket.io-response#/#",
        r#"{"requestId":"aoiFX3"}"#,
    ),
    (
        "remoteDisconnect",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","requestId":"17V9kA","type":4,"sid":"ufLZMATbMUOwy-f1AAAB","close":false}"#,
    ),
    (
        "remoteDisconnect 1",
        "socket.io-response#/#",
        r#"{"requestId":"17V9kA"}"#,
    ),
    (
        "disconnect",
        "socket.io-request#/#",
        r#"{"uid":"qVBcra","type":4,"opts":{"rooms":["room"],"except":[]},"close":true}"#,
    ),
];

pub(super) const EIGHT: &Captured = &[
    (
        "all",
        "socket.io#/#",
        "k6ZjeVRYb1SDpHR5cGUCpGRhdGGUpWhlbGxvAaLDqYGhYZXDwMs/+AAAAAAAAP3Pa8deLWMQAACjbnNwoS+DpXJvb21zkKZleGNlcHSQpWZsYWdzgA==",
    ),
    (
        "room",
        "socket.io#/#room#",
        "k6ZjeVRYb1SDpHR5cGUCpGRhdGGRpWhlbGxvo25zcKEvg6Vyb29tc5Gkcm9vbaZleGNlcHSQpWZsYWdzgA==",
    ),
    (
        "int room",
        "socket.io#/#42#",
        "k6ZjeVRYb1SDpHR5cGUCpGRhdGGRpWhlbGxvo25zcKEvg6Vyb29tc5EqpmV4Y2VwdJClZmxhZ3OA",
    ),
    (
        "two rooms except",
        "socket.io#/#",
        "k6ZjeVRYb1SDpHR5cGUCpGRhdGGSpWhlbGxvxAIA/6Nuc3ChL4Olcm9vbXOSpHJvb22hYqZleGNlcHSRoWOlZmxhZ3OA",
    ),
    (
        "dialect",
        "socket.io#/#",
        "k6ZjeVRYb1SDpHR5cGUCpGRhdGGVoWTX/x1TUwBlU/EAwMQDAQIDxAIAAKNuc3ChL4Olcm9vbXOQpmV4Y2VwdJClZmxhZ3OA",
    ),
    (
        "volatile flags",
        "socket.io#/#",
        "k6ZjeVRYb1SDpHR5cGUCpGRhdGGRoXajbnNwoS+DpXJvb21zkKZleGNlcHSQpWZsYWdzgqh2b2xhdGlsZcOoY29tcHJlc3PC",
    ),
    (
        "chat",
        "socket.io#/chat#x#y#",
        "k6ZXdHd1bUmDpHR5cGUCpGRhdGGRpWhlbGxvo25zcKUvY2hhdIOlcm9vbXORo3gjeaZleGNlcHSQpWZsYWdzgA==",
    ),
    (
        "socket broadcast",
        "socket.io#/#",
        "k6ZjeVRYb1SDpHR5cGUCpGRhdGGRoWKjbnNwoS+DpXJvb21zkKZleGNlcHSRtHJGY19iQjE0bFcyOFNycnFBQUFBpWZsYWdzgA==",
    ),
    (
        "fetch",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","requestId":"w9dWqH","type":5,"opts":{"rooms":[],"except":[]}}"#,
    ),
    (
        "fetch 1",
        "socket.io-response#/#",
        r#"{"requestId":"w9dWqH","sockets":[{"id":"Gz-Zo2Zt1mt1IXbjAAAB","handshake":{"headers":{"host":"127.0.0.1:37461"},"time":"Fri Nov 27 2026 12:51:07 GMT+0000 (Coordinated Universal Time)","address":"127.0.0.1","xdomain":false,"secure":false,"issued":1795783867974,"url":"/socket.io/?EIO=4&transport=websocket","query":{"EIO":"4","transport":"websocket"},"auth":{}},"rooms":["Gz-Zo2Zt1mt1IXbjAAAB","room",42],"data":{"n":1}}]}"#,
    ),
    (
        "fetch rooms",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","requestId":"A5tNnZ","type":5,"opts":{"rooms":["room"],"except":["x"]}}"#,
    ),
    (
        "fetch rooms 1",
        "socket.io-response#/#",
        r#"{"requestId":"A5tNnZ","sockets":[{"id":"Gz-Zo2Zt1mt1IXbjAAAB","handshake":{"headers":{"host":"127.0.0.1:37461"},"time":"Fri Nov 27 2026 12:51:07 GMT+0000 (Coordinated Universal Time)","address":"127.0.0.1","xdomain":false,"secure":false,"issued":1795783867974,"url":"/socket.io/?EIO=4&transport=websocket","query":{"EIO":"4","transport":"websocket"},"auth":{}},"rooms":["Gz-Zo2Zt1mt1IXbjAAAB","room",42],"data":{"n":1}}]}"#,
    ),
    (
        "join",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","type":2,"opts":{"rooms":["room"],"except":[]},"rooms":["n","m"]}"#,
    ),
    (
        "leave",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","type":3,"opts":{"rooms":[],"except":[]},"rooms":["n"]}"#,
    ),
    (
        "sse",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","type":6,"data":["hello","w",1]}"#,
    ),
    (
        "sse ack",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","requestId":"M291e1","type":6,"data":["add",1,2]}"#,
    ),
    (
        "sse ack 1",
        "socket.io-response#/#",
        r#"{"type":6,"requestId":"M291e1","data":3}"#,
    ),
    (
        "ack",
        "socket.io-request#/#",
        "haN1aWSmY3lUWG9UqXJlcXVlc3RJZKZQcmlhb0KkdHlwZQemcGFja2V0g6R0eXBlAqRkYXRhkqNhY2vEAQmjbnNwoS+kb3B0c4Olcm9vbXOQpmV4Y2VwdJClZmxhZ3OBp3RpbWVvdXTNA+g=",
    ),
    (
        "ack 1",
        "socket.io-response#/#",
        r#"{"type":8,"requestId":"PriaoB","clientCount":1}"#,
    ),
    (
        "ack 2",
        "socket.io-response#/#",
        "g6R0eXBlCalyZXF1ZXN0SWSmUHJpYW9CpnBhY2tldMQCAQI=",
    ),
    (
        "ask",
        "socket.io-request#/#",
        "haN1aWSmY3lUWG9UqXJlcXVlc3RJZKZMMlQ4ZGOkdHlwZQemcGFja2V0g6R0eXBlAqRkYXRhkqNhc2sHo25zcKEvpG9wdHODpXJvb21zkKZleGNlcHSQpWZsYWdzgad0aW1lb3V0zQPo",
    ),
    (
        "ask 1",
        "socket.io-response#/#",
        r#"{"type":8,"requestId":"L2T8dc","clientCount":1}"#,
    ),
    (
        "ask 2",
        "socket.io-response#/#",
        "g6R0eXBlCalyZXF1ZXN0SWSmTDJUOGRjpnBhY2tldIKhdgeiYXSmY2xpZW50",
    ),
    (
        "allrooms",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","requestId":"ze8-tB","type":1}"#,
    ),
    (
        "allrooms 1",
        "socket.io-response#/#",
        r#"{"requestId":"ze8-tB","rooms":["Gz-Zo2Zt1mt1IXbjAAAB","room",42,"m"]}"#,
    ),
    (
        "disconnect",
        "socket.io-request#/#",
        r#"{"uid":"cyTXoT","type":4,"opts":{"rooms":["room"],"except":[]},"close":true}"#,
    ),
];
