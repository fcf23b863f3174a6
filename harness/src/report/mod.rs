//! Sinks on one stream of events.
