"""Film reviews, positive or negative, with an LSTM, an RNN or a bag of words."""
