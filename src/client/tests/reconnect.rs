//! When a client comes again, with what, and when it does not.

use super::super::item::TroubleKind;
use super::super::options::ClientResume;
use super::dialogue::Step::{
    Answer, Asked, Close, Error, Fate, Nobody, Opened, Pass, Redirect, Say, Stream, Told,
};
use super::dialogue::{Talk, run};
use super::{Dialed, Options, options};
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use std::time::Duration;

const OPEN: &str = "OPEN 200 http://h/s";
const NORMAL: Option<(u64, u64)> = Some((3000, 3750));
const ENDED: &str = "the stream has ended (http://h/s)";

fn post(options: &mut Options) {
    options.method = Method::POST;
    options.body = Some(Bytes::from_static(b"{}"));
    let json = HeaderValue::from_static("application/json");
    options.fields.insert(header::CONTENT_TYPE, json);
}

fn secret(options: &mut Options) {
    let value = HeaderValue::from_static("x");
    options.fields.insert(header::AUTHORIZATION, value.clone());
    options.fields.insert(header::COOKIE, value);
}

fn retrying(options: &mut Options) {
    options.retry_on = vec![429, 503];
}

fn talk(name: &'static str, options: fn(&mut Options), steps: Vec<super::dialogue::Step>) -> Talk {
    Talk {
        name,
        options,
        steps,
    }
}

fn ends() -> Vec<Talk> {
    vec![
        talk(
            "a stream's end, and the usual wait",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, ENDED, NORMAL),
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
            ],
        ),
        talk(
            "a wait that the server names",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("retry: 500\n\n"),
                Told(OPEN),
                Told("RETRY 500"),
                Close,
                Error(TroubleKind::Ended, "", Some((500, 625))),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "a wait that the server names is kept for later streams",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("retry: 500\n"),
                Told(OPEN),
                Told("RETRY 500"),
                Close,
                Error(TroubleKind::Ended, "", Some((500, 625))),
                Asked("GET h:80 /s"),
                Stream,
                Say("data: a\n\n"),
                Told(OPEN),
                Told("message|a|"),
                Close,
                Error(TroubleKind::Ended, "", Some((500, 625))),
            ],
        ),
        talk(
            "a wait of nothing is a tenth of a second",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("retry: 0\n\n"),
                Told(OPEN),
                Told("RETRY 0"),
                Close,
                Error(TroubleKind::Ended, "", Some((100, 125))),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "a wait without end is a day",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("retry: 99999999999999999999\n\n"),
                Told(OPEN),
                Told("RETRY 18446744073709551615"),
                Close,
                Error(TroubleKind::Ended, "", Some((86_400_000, 108_000_000))),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "a wait of the host's",
            |o| o.retry = Duration::from_millis(200),
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, "", Some((200, 250))),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "a body that breaks off",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Say(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99\r\n\r\ndata: a\n\n",
                ),
                Told(OPEN),
                Told("message|a|"),
                Close,
                Error(TroubleKind::Network, "the connection broke", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "no answer",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Close,
                Error(TroubleKind::Network, "the connection broke", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "no connection: the wait doubles up to its most",
            |o| o.backoff = Duration::from_secs(10),
            vec![
                Fate(Dialed::Refused),
                Fate(Dialed::Refused),
                Fate(Dialed::Refused),
                Fate(Dialed::Refused),
                Error(TroubleKind::Connect, "h:80: refused (http://h/s)", NORMAL),
                Error(TroubleKind::Connect, "", Some((4500, 6000))),
                Error(TroubleKind::Connect, "", Some((7500, 10_000))),
                Error(TroubleKind::Connect, "", Some((7500, 10_000))),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "an event ends the growth of the wait",
            |_| {},
            vec![
                Fate(Dialed::Refused),
                Fate(Dialed::Refused),
                Error(TroubleKind::Connect, "", NORMAL),
                Error(TroubleKind::Connect, "", Some((4500, 6000))),
                Asked("GET h:80 /s"),
                Stream,
                Say(":\n"),
                Told(OPEN),
                Told(":"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "streams that bring nothing are failures",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, "", Some((4500, 6000))),
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Pass(11),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "as many failures as there may be",
            |o| o.max_failures = 2,
            vec![
                Fate(Dialed::Refused),
                Fate(Dialed::Refused),
                Error(TroubleKind::Connect, "", NORMAL),
                Error(TroubleKind::Connect, "", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "204 before a stream",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Say("HTTP/1.1 204 No Content\r\n\r\n"),
                Told("END NoContent"),
                Nobody,
            ],
        ),
        talk(
            "204 after a stream",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
                Say("HTTP/1.1 204 No Content\r\n\r\n"),
                Told("END NoContent"),
                Nobody,
            ],
        ),
    ]
}

fn ids() -> Vec<Talk> {
    vec![
        talk(
            "the last id goes along",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("id: 1\ndata: a\n\nid: 2\ndata: b\n\n"),
                Told(OPEN),
                Told("message|a|1"),
                Told("message|b|2"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=2"),
                Stream,
                Told(OPEN),
            ],
        ),
        talk(
            "an id without an event goes along",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("id: 5\n\n"),
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=5"),
            ],
        ),
        talk(
            "an id is kept over a stream that is cut before any",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("id: 1\ndata: a\n\n"),
                Told(OPEN),
                Told("message|a|1"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=1"),
                Stream,
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=1"),
                Stream,
                Say("data: b\n\n"),
                Told(OPEN),
                Told("message|b|1"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=1"),
            ],
        ),
        talk(
            "an empty id takes it back",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("id: 1\ndata: a\n\nid\n\n"),
                Told(OPEN),
                Told("message|a|1"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "an id of a block that is cut off does not count",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("id: 1\ndata: a\n\nid: 2\ndata: b\n"),
                Told(OPEN),
                Told("message|a|1"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=1"),
            ],
        ),
        talk(
            "an id to begin with",
            |o| o.last_event_id = "41".into(),
            vec![
                Asked("GET h:80 /s id=41"),
                Stream,
                Say("data: a\n\n"),
                Told(OPEN),
                Told("message|a|41"),
            ],
        ),
        talk(
            "an id that no field can have is not sent",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Say("id: a\x01b\ndata: a\n\n"),
                Told(OPEN),
                Told("message|a|a\x01b"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
                Stream,
                Error(
                    TroubleKind::IdField,
                    "control characters and is not sent (http://h/s)",
                    None,
                ),
                Told(OPEN),
            ],
        ),
    ]
}

fn redirections() -> Vec<Talk> {
    vec![
        talk(
            "301 is followed and remembered",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Redirect("301", "/t"),
                Asked("GET h:80 /t"),
                Stream,
                Opened("t"),
                Close,
                Error(TroubleKind::Ended, "(http://h/t)", NORMAL),
                Asked("GET h:80 /t"),
            ],
        ),
        talk(
            "308 is",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Redirect("308", "t?x=1#y"),
                Asked("GET h:80 /t?x=1"),
                Stream,
                Opened("t?x=1"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /t?x=1"),
            ],
        ),
        talk(
            "307 is",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Redirect("307", "http://i:81/t"),
                Asked("GET i:81 /t"),
                Stream,
                Told("OPEN 200 http://i:81/t"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET i:81 /t"),
            ],
        ),
        talk(
            "302 is followed and not remembered",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Redirect("302", "/t"),
                Asked("GET h:80 /t"),
                Stream,
                Opened("t"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "303 is",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Redirect("303", "/t"),
                Asked("GET h:80 /t"),
                Stream,
                Opened("t"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "what follows a 302 is not remembered",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Redirect("302", "/t"),
                Asked("GET h:80 /t"),
                Redirect("301", "/u"),
                Asked("GET h:80 /u"),
                Stream,
                Opened("u"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "the id goes along",
            |o| o.last_event_id = "7".into(),
            vec![
                Asked("GET h:80 /s id=7"),
                Redirect("301", "/t"),
                Asked("GET h:80 /t id=7"),
            ],
        ),
        talk(
            "303 makes a GET of a POST",
            post,
            vec![
                Asked("POST h:80 /s type body={}"),
                Redirect("303", "/t"),
                Asked("GET h:80 /t"),
                Stream,
                Opened("t"),
            ],
        ),
        talk(
            "301 does",
            post,
            vec![
                Asked("POST h:80 /s type body={}"),
                Redirect("301", "/t"),
                Asked("GET h:80 /t"),
            ],
        ),
        talk(
            "307 repeats a POST",
            post,
            vec![
                Asked("POST h:80 /s type body={}"),
                Redirect("307", "/t"),
                Asked("POST h:80 /t type body={}"),
            ],
        ),
        talk(
            "301 leaves another method alone",
            |o| {
                post(o);
                o.method = Method::PUT;
            },
            vec![
                Asked("PUT h:80 /s type body={}"),
                Redirect("301", "/t"),
                Asked("PUT h:80 /t type body={}"),
            ],
        ),
        talk(
            "credentials stay with their origin",
            secret,
            vec![
                Asked("GET h:80 /s auth cookie"),
                Redirect("301", "/t"),
                Asked("GET h:80 /t auth cookie"),
                Redirect("301", "http://i/"),
                Asked("GET i:80 /"),
                Redirect("301", "http://h/u"),
                Asked("GET h:80 /u"),
                Stream,
                Opened("u"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /u"),
            ],
        ),
        talk(
            "credentials are there again where a redirection is not remembered",
            secret,
            vec![
                Asked("GET h:80 /s auth cookie"),
                Redirect("302", "http://i/"),
                Asked("GET i:80 /"),
                Stream,
                Told("OPEN 200 http://i/"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s auth cookie"),
            ],
        ),
        talk(
            "more redirections than may be",
            |o| o.max_redirects = 2,
            vec![
                Asked("GET h:80 /s"),
                Redirect("301", "/s"),
                Asked("GET h:80 /s"),
                Redirect("301", "/s"),
                Asked("GET h:80 /s"),
                Redirect("301", "/s"),
                Error(
                    TroubleKind::Redirects,
                    "more than 2 redirections, which is the limit (http://h/s)",
                    None,
                ),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a redirection to what is no place for a stream",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Redirect("302", "file:///etc/passwd"),
                Error(TroubleKind::Redirect, "the scheme file is none of", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a redirection that says not where to",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Say("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"),
                Error(
                    TroubleKind::Status,
                    "the answer is 302 Found (http://h/s)",
                    None,
                ),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "one that fails is begun anew",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Fate(Dialed::Refused),
                Redirect("301", "http://i/"),
                Error(TroubleKind::Connect, "i:80: refused (http://i/)", NORMAL),
                Asked("GET h:80 /s"),
            ],
        ),
    ]
}

fn refusals() -> Vec<Talk> {
    vec![
        talk(
            "another status is the end",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Answer("404 Not Found", "", "no such page"),
                Error(
                    TroubleKind::Status,
                    "the answer is 404 Not Found (http://h/s)",
                    None,
                ),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "another status within 2xx is",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Answer(
                    "206 Partial Content",
                    "content-type: text/event-stream\r\n",
                    "data: a\n\n",
                ),
                Error(TroubleKind::Status, "206", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "503 is, unless the host asks",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Answer("503 Busy", "retry-after: 1\r\n", ""),
                Error(TroubleKind::Status, "503", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a refusal that is asked for again",
            retrying,
            vec![
                Asked("GET h:80 /s"),
                Answer("503 Busy", "", ""),
                Error(TroubleKind::Status, "503", NORMAL),
                Asked("GET h:80 /s"),
                Answer("503 Busy", "", ""),
                Error(TroubleKind::Status, "503", Some((4500, 6000))),
                Asked("GET h:80 /s"),
                Answer("500 Oh", "", ""),
                Error(TroubleKind::Status, "500", None),
                Told("END Failed"),
            ],
        ),
        talk(
            "Retry-After in seconds",
            retrying,
            vec![
                Asked("GET h:80 /s"),
                Answer("429 Slowly", "retry-after: 7\r\n", ""),
                Error(TroubleKind::Status, "429", Some((7000, 8750))),
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
            ],
        ),
        talk(
            "Retry-After that is over, or nothing",
            retrying,
            vec![
                Asked("GET h:80 /s"),
                Answer(
                    "503 Busy",
                    "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
                    "",
                ),
                Error(TroubleKind::Status, "503", NORMAL),
                Asked("GET h:80 /s"),
                Answer("503 Busy", "retry-after: soon\r\n", ""),
                Error(TroubleKind::Status, "503", Some((4500, 6000))),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "Retry-After a hundred years from now is a day",
            retrying,
            vec![
                Asked("GET h:80 /s"),
                Answer("503 Busy", "retry-after: 99999999999999999999\r\n", ""),
                Error(TroubleKind::Status, "503", Some((86_400_000, 108_000_000))),
            ],
        ),
        talk(
            "another content type is the end",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Answer("200 OK", "content-type: text/html\r\n", "<p>"),
                Error(
                    TroubleKind::ContentType,
                    "the answer is no event stream but \"text/html\" (http://h/s)",
                    None,
                ),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "no content type is",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Answer("200 OK", "", "data: a\n\n"),
                Error(
                    TroubleKind::ContentType,
                    "the answer has no content type",
                    None,
                ),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a content type may have parameters, and capitals",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Say("HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream;charset=utf-8\r\n\r\n"),
                Told(OPEN),
            ],
        ),
        talk(
            "a content coding that is not ours is the end",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Say(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: br\r\ncontent-length: 0\r\n\r\n",
                ),
                Error(
                    TroubleKind::ContentEncoding,
                    "content coding is \"br\", not gzip",
                    None,
                ),
                Told("END Failed"),
                Nobody,
            ],
        ),
    ]
}

fn bodies() -> Vec<Talk> {
    fn get(o: &mut Options) {
        post(o);
        o.resume = ClientResume::Get;
    }
    fn always(o: &mut Options) {
        post(o);
        o.resume = ClientResume::Always;
    }
    vec![
        talk(
            "a POST is made once",
            post,
            vec![
                Asked("POST h:80 /s type body={}"),
                Stream,
                Say("data: a\n\n"),
                Told(OPEN),
                Told("message|a|"),
                Close,
                Told("END Ended"),
                Nobody,
            ],
        ),
        talk(
            "a POST that is cut off is",
            post,
            vec![
                Asked("POST h:80 /s type body={}"),
                Close,
                Error(TroubleKind::Network, "", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a POST that gets no connection is",
            post,
            vec![
                Fate(Dialed::Refused),
                Error(TroubleKind::Connect, "", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a GET follows up a POST",
            get,
            vec![
                Asked("POST h:80 /s type body={}"),
                Stream,
                Say("id: 1\ndata\n\n"),
                Told(OPEN),
                Told("message||1"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=1"),
                Stream,
                Told(OPEN),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("GET h:80 /s id=1"),
                Say("HTTP/1.1 204 No Content\r\n\r\n"),
                Told("END NoContent"),
                Nobody,
            ],
        ),
        talk(
            "no GET follows a POST that had no stream",
            get,
            vec![
                Asked("POST h:80 /s type body={}"),
                Close,
                Error(TroubleKind::Network, "", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a POST that was never sent is made again",
            get,
            vec![
                Fate(Dialed::Refused),
                Error(TroubleKind::Connect, "", NORMAL),
                Asked("POST h:80 /s type body={}"),
            ],
        ),
        talk(
            "a POST is repeated when that is wanted",
            always,
            vec![
                Asked("POST h:80 /s type body={}"),
                Close,
                Error(TroubleKind::Network, "", NORMAL),
                Asked("POST h:80 /s type body={}"),
                Stream,
                Say("id: 1\ndata: a\n\n"),
                Told(OPEN),
                Told("message|a|1"),
                Close,
                Error(TroubleKind::Ended, "", NORMAL),
                Asked("POST h:80 /s id=1 type body={}"),
            ],
        ),
        talk(
            "a POST that was refused is made again when the host asks",
            |o| {
                post(o);
                retrying(o);
            },
            vec![
                Asked("POST h:80 /s type body={}"),
                Answer("429 Slowly", "retry-after: 2\r\n", ""),
                Error(TroubleKind::Status, "429", Some((2000, 2500))),
                Asked("POST h:80 /s type body={}"),
            ],
        ),
        talk(
            "a GET with a body is more than a GET",
            |o| o.body = Some(Bytes::from_static(b"q")),
            vec![
                Asked("GET h:80 /s body=q"),
                Stream,
                Told(OPEN),
                Close,
                Told("END Ended"),
                Nobody,
            ],
        ),
        talk(
            "a DELETE without one is too",
            |o| o.method = Method::DELETE,
            vec![
                Asked("DELETE h:80 /s"),
                Stream,
                Told(OPEN),
                Close,
                Told("END Ended"),
                Nobody,
            ],
        ),
    ]
}

fn times() -> Vec<Talk> {
    vec![
        talk(
            "no connection in time",
            |o| o.connect_timeout = Duration::from_secs(4),
            vec![
                Fate(Dialed::Pending),
                Error(
                    TroubleKind::ConnectTimeout,
                    "no connection after 4 s, the limit (http://h/s)",
                    NORMAL,
                ),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "no head in time",
            |o| o.head_timeout = Duration::from_secs(5),
            vec![
                Asked("GET h:80 /s"),
                Say("HTTP/1.1 200 OK\r\n"),
                Error(
                    TroubleKind::HeadTimeout,
                    "no head of an answer after 5 s, the limit (http://h/s)",
                    NORMAL,
                ),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "silence",
            |o| o.silence = Duration::from_secs(45),
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Pass(40),
                Say(":\n"),
                Told(":"),
                Pass(44),
                Say("d"),
                Pass(44),
                Say("ata: a\n\n"),
                Told("message|a|"),
                Error(
                    TroubleKind::Silence,
                    "silent for 45 s, the limit (http://h/s)",
                    NORMAL,
                ),
                Asked("GET h:80 /s"),
            ],
        ),
        talk(
            "no silence is too long unless it is said",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Pass(100_000),
                Say(":\n"),
                Told(":"),
            ],
        ),
        talk(
            "the age of a stream",
            |o| o.max_age = Duration::from_secs(60),
            vec![
                Asked("GET h:80 /s"),
                Stream,
                Told(OPEN),
                Pass(30),
                Say(":\n"),
                Told(":"),
                Error(TroubleKind::Age, "at its age of 60 s, the limit", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "the age while it waits",
            |o| o.max_age = Duration::from_secs(2),
            vec![
                Fate(Dialed::Refused),
                Error(TroubleKind::Connect, "", NORMAL),
                Error(TroubleKind::Age, "", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
        talk(
            "a refusal whose body does not end",
            |_| {},
            vec![
                Asked("GET h:80 /s"),
                Say("HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\nwh"),
                Error(TroubleKind::Status, "500", None),
                Told("END Failed"),
                Nobody,
            ],
        ),
    ]
}

async fn all(talks: Vec<Talk>) {
    for talk in talks {
        let mut options = options("http://h/s");
        (talk.options)(&mut options);
        run(talk.name, options, &talk.steps).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_end() {
    all(ends()).await;
}

#[tokio::test(start_paused = true)]
async fn with_an_id() {
    all(ids()).await;
}

#[tokio::test(start_paused = true)]
async fn by_a_redirection() {
    all(redirections()).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal() {
    all(refusals()).await;
}

#[tokio::test(start_paused = true)]
async fn with_a_body() {
    all(bodies()).await;
}

#[tokio::test(start_paused = true)]
async fn when_a_time_is_up() {
    all(times()).await;
}
