//! From one framed request to one response in the output.
//!
//! [`route`] finds the target of a request (pure); `documents` writes what is published. The exchange of its module decodes and decides it; `certificates`
//! and `time_stamps` wait for what that needs, and write, count and log the result. Invariant: a response that has to
//! wait is never begun while earlier responses are in the output, and every signed answer, new or kept, is checked
//! against the records immediately before it is written. It decides nothing about certificates or tokens.

mod certificates;
mod documents;
mod elsewhere;
mod quota;
mod reply;
pub mod route;
mod time_stamps;

use std::{rc::Rc, sync::atomic::Ordering::Relaxed};

use precompute::pki::UnixTime;

use self::route::Route;
use crate::{
    desk::Desk,
    net::{
        http::Head,
        service::{Request, Responded, Service},
    },
};

impl Service for Desk {
    fn start(self: &Rc<Self>) {
        let [turns, sites] = [(); 2].map(|()| Rc::clone(self));
        monoio::spawn(async move { turns.begin_turns().await });
        monoio::spawn(async move { sites.follow_sites().await });
    }

    fn asks(&self, server_name: Option<&str>) -> bool {
        self.site().asks(server_name)
    }

    fn body_max(&self, head: &Head<'_>) -> usize {
        route::body_max(head)
    }

    fn is_refused(&self, head: &Head<'_>) -> bool {
        Route::of(&self.site(), head).refusal().is_some()
    }

    async fn respond(&self, request: &Request<'_>, out: &mut Vec<u8>) -> Responded {
        let site = self.site();
        match Route::of(&site, request.head) {
            Route::Certificates(route) => certificates::respond(self, &route, request, out).await,
            Route::TimeStamps(route) => time_stamps::respond(self, &route, request, out).await,
            Route::Elsewhere(route) => elsewhere::respond(self, &route, request, out).await,
            Route::Published(route) => documents::respond(self, &route, request, out),
            Route::Nobody(refusal) => {
                self.counters.unrouted.fetch_add(1, Relaxed);
                request.context(UnixTime::now()).refuse(out, refusal);
                Responded::Kept
            }
        }
    }
}
