//! TLS and HTTP: certificates that reload, listeners, connectors. The only user of hyper and rustls.
