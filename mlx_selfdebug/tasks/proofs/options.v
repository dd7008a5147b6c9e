(* Theorems on optional values and pairs. *)

Definition option_or {A : Type} (o : option A) (default : A) : A :=
  match o with
  | Some x => x
  | None => default
  end.

Definition is_some {A : Type} (o : option A) : bool :=
  match o with
  | Some _ => true
  | None => false
  end.

Definition swap {A B : Type} (p : A * B) : B * A :=
  match p with
  | (a, b) => (b, a)
  end.

(* task: A value that is there is given, whatever the default is.
   wrong: intros A x d.
   pass_rate: 0
   difficulty: hard *)
Theorem some_or_default : forall (A : Type) (x d : A), option_or (Some x) d = x.
Proof.
  intros A x d.
  reflexivity.
Qed.

(* task: If no value is there, the default is given.
   wrong: intros A d.
   pass_rate: 0.125
   difficulty: hard *)
Theorem none_or_default : forall (A : Type) (d : A), option_or None d = d.
Proof.
  intros A d.
  reflexivity.
Qed.

(* task: A value that is there is not None.
   wrong: intros A x. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem some_not_none : forall (A : Type) (x : A), Some x <> None.
Proof.
  intros A x H.
  discriminate H.
Qed.

(* task: If two values in Some are equal, then so are the values.
   wrong: intros A x y H. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem some_injective : forall (A : Type) (x y : A), Some x = Some y -> x = y.
Proof.
  intros A x y H.
  injection H as H.
  exact H.
Qed.

(* task: An optional value is None if and only if nothing is there.
   wrong: intros A o H. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem not_some_is_none : forall (A : Type) (o : option A), is_some o = false -> o = None.
Proof.
  intros A o H.
  destruct o as [x |].
  - discriminate H.
  - reflexivity.
Qed.

(* task: If something is there, then it is some value.
   wrong: intros A o H. exists o. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem some_value : forall (A : Type) (o : option A), is_some o = true -> exists x, o = Some x.
Proof.
  intros A o H.
  destruct o as [x |].
  - exists x. reflexivity.
  - discriminate H.
Qed.

(* task: Mapping the identity over an optional value changes nothing.
   wrong: intros A o. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem option_map_identity : forall (A : Type) (o : option A), option_map (fun x => x) o = o.
Proof.
  intros A o.
  destruct o; reflexivity.
Qed.

(* task: The first part of a pair is the one that was put in first.
   wrong: intros A B a b.
   pass_rate: 0
   difficulty: hard *)
Theorem first_of_pair : forall (A B : Type) (a : A) (b : B), fst (a, b) = a.
Proof.
  intros A B a b.
  reflexivity.
Qed.

(* task: A pair is made of its two parts.
   wrong: intros A B p. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem pair_of_parts : forall (A B : Type) (p : A * B), p = (fst p, snd p).
Proof.
  intros A B p.
  destruct p as [a b].
  reflexivity.
Qed.

(* task: Swapping the parts of a pair twice gives the pair itself.
   wrong: intros A B p. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem swap_twice : forall (A B : Type) (p : A * B), swap (swap p) = p.
Proof.
  intros A B p.
  destruct p as [a b].
  reflexivity.
Qed.

(* task: The first part of a swapped pair is its second part.
   wrong: intros A B p. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem first_of_swapped : forall (A B : Type) (p : A * B), fst (swap p) = snd p.
Proof.
  intros A B p.
  destruct p as [a b].
  reflexivity.
Qed.
