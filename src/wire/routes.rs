//! Paths: what exists, and by which methods.

use crate::wire::codec::Dialect;
use crate::wire::http::absolute;
use crate::wire::session::Port;

/// A call: `POST` with a JSON object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Register,
    Find,
    MintIds,
    Page,
    Offline,
    ChatList,
    ClearUnread,
    ClearUnreadOf,
    DeleteChat,
    UnreadCount,
    Top,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// A call.
    Call(Call),
    /// `GET /im/test`.
    Hello,
    /// `GET /ws`, the upgrade.
    WebSocket,
    /// `OPTIONS *`.
    Server,
    /// Whatever it is, of the bare dialect.
    Any,
}

/// The methods that some path knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Options,
    Connect,
    Other,
}

impl Method {
    /// The method of a name; names are case-sensitive.
    pub(super) fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "OPTIONS" => Method::Options,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }
}

impl Route {
    /// The route of a request target; its query is ignored.
    pub(super) fn of(target: &str, port: Port, dialect: Dialect) -> Option<Route> {
        if dialect == Dialect::Bare {
            return Some(if port == Port::Http { Route::Any } else { Route::WebSocket });
        }
        let path = path_of(target);
        let route = match path {
            "/ws" => Route::WebSocket,
            "*" => Route::Server,
            "/im/test" => Route::Hello,
            _ => Route::Call(call_of(path)?),
        };
        let known = port == Port::Http || matches!(route, Route::WebSocket | Route::Server);
        known.then_some(route)
    }

    /// Whether a method is one of [`Route::allow`], but for `OPTIONS`, which always is.
    pub(super) fn allows(self, method: Method) -> bool {
        match self {
            Route::Call(_) => method == Method::Post,
            Route::Hello => matches!(method, Method::Get | Method::Head),
            Route::WebSocket => method == Method::Get,
            Route::Server => false,
            Route::Any => true,
        }
    }

    /// The value of `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Route::Call(_) => "POST, OPTIONS",
            Route::Hello => "GET, HEAD, OPTIONS",
            Route::WebSocket => "GET, OPTIONS",
            Route::Server | Route::Any => "OPTIONS",
        }
    }
}

/// The path of a target: origin form, or absolute form as proxies send it.
fn path_of(target: &str) -> &str {
    let target = if target.starts_with('/') { target } else { absolute(target).unwrap_or(target) };
    let path = target.split('?').next().unwrap_or(target);
    if path.is_empty() { "/" } else { path }
}

fn call_of(path: &str) -> Option<Call> {
    Some(match path.strip_prefix("/im/")? {
        "user/register" => Call::Register,
        "user/find" => Call::Find,
        "message/get/id" => Call::MintIds,
        "message/user/get/page" => Call::Page,
        "message/offline" => Call::Offline,
        "user/chat/list" => Call::ChatList,
        "user/chat/clear/unread" => Call::ClearUnread,
        "user/chat/clear/unread2" => Call::ClearUnreadOf,
        "user/delete/chat/list" => Call::DeleteChat,
        "user/chat/unread/count" => Call::UnreadCount,
        "user/chat/top" => Call::Top,
        _ => return None,
    })
}
