"""Links between machines: encrypted, admitted by key, through a relay where both sides only dial outward."""
