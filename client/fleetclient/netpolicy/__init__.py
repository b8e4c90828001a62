"""What may go over the wire, how fast, how much, and to whom. `door` is the only place that opens a connection.

A request passes in this order: `gate` (is this network allowed, is this the signed server), `breaker` (has the server
turned this car away), `budget` (is there anything left of the day's bytes), `bucket` (is it this request's turn). Every
byte that moves is counted. `door` also listens to the server's clock (`skew`), and `refusals` reads its noes.
"""
