"""Shows the car in Home Assistant by MQTT discovery: `discovery` says what there is, `publisher` keeps it fresh."""
