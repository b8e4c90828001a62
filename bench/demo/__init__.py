"""The demonstration (`make demo`): a small fleet of car clients runs two real models over real data, and is checked.

story      the order of events
settings   numbers of this demonstration        cast      who takes part
data       what the researcher brings           accounts  sign-ups, an API key
cars       car clients as processes             incidents what befalls three of them
research   the researcher's API                 portal    owners' browsers
books      what the database says afterwards    checks    the four checks
progress   bars, or lines where no one watches  summary   what is printed at the end
"""
