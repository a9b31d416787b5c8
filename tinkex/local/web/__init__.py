"""HTTP: requests, answers and routing, which hosts are served, and the sockets and threads behind them."""
