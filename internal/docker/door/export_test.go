package door

// CloseIdle closes connections to the daemon that wait to be used again.
func (p *Proxy) CloseIdle() { p.daemon.http.CloseIdleConnections() }
