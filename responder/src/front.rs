//! From one framed request to one response in the output.
//!
//! [`route`] tells whom a request is for (pure), [`respond`] hands over to [`certificates`] and [`time_stamps`].

pub mod certificates;
pub mod respond;
pub mod route;
pub mod time_stamps;
