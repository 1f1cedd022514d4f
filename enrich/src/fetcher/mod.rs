//! The network thread: requests in, outcomes out.
