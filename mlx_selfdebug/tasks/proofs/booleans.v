(* Theorems on booleans. *)
Require Import Bool.

(* task: The negation of true is false.
   wrong: intros.
   pass_rate: 0.375
   difficulty: medium *)
Theorem not_true : negb true = false.
Proof.
  reflexivity.
Qed.

(* task: Negating a boolean twice gives the boolean itself.
   wrong: intros b. reflexivity.
   pass_rate: 0.625
   difficulty: medium *)
Theorem negb_twice : forall b : bool, negb (negb b) = b.
Proof.
  intros b.
  destruct b; reflexivity.
Qed.

(* task: True is neutral on the left of a conjunction.
   wrong: destruct b.
   pass_rate: 0.75
   difficulty: easy *)
Theorem true_and : forall b : bool, true && b = b.
Proof.
  intros b.
  reflexivity.
Qed.

(* task: True is neutral on the right of a conjunction.
   wrong: intros b. reflexivity.
   pass_rate: 0.125
   difficulty: hard *)
Theorem and_true : forall b : bool, b && true = b.
Proof.
  intros b.
  destruct b; reflexivity.
Qed.

(* task: False absorbs a conjunction from the left.
   wrong: intros.
   pass_rate: 0.375
   difficulty: medium *)
Theorem false_and : forall b : bool, false && b = false.
Proof.
  intros b.
  reflexivity.
Qed.

(* task: False absorbs a conjunction from the right.
   wrong: reflexivity.
   pass_rate: 0.125
   difficulty: hard *)
Theorem and_false : forall b : bool, b && false = false.
Proof.
  intros b.
  destruct b; reflexivity.
Qed.

(* task: Conjunction of booleans is commutative.
   wrong: intros a b. destruct a; reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem and_comm : forall a b : bool, a && b = b && a.
Proof.
  intros a b.
  destruct a, b; reflexivity.
Qed.

(* task: Conjunction of booleans is associative.
   wrong: intros a b c. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem and_assoc : forall a b c : bool, a && (b && c) = (a && b) && c.
Proof.
  intros a b c.
  destruct a; reflexivity.
Qed.

(* task: Disjunction of booleans is commutative.
   wrong: intros a b. destruct b; reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem or_comm : forall a b : bool, a || b = b || a.
Proof.
  intros a b.
  destruct a, b; reflexivity.
Qed.

(* task: A boolean or its negation is true.
   wrong: intros b. simpl. reflexivity.
   pass_rate: 0.625
   difficulty: medium *)
Theorem excluded_middle_bool : forall b : bool, b || negb b = true.
Proof.
  intros b.
  destruct b; reflexivity.
Qed.

(* task: The negation of a conjunction is the disjunction of the negations.
   wrong: intros a b. reflexivity.
   pass_rate: 0.375
   difficulty: medium *)
Theorem de_morgan_and : forall a b : bool, negb (a && b) = negb a || negb b.
Proof.
  intros a b.
  destruct a; reflexivity.
Qed.

(* task: The negation of a disjunction is the conjunction of the negations.
   wrong: intros a b. rewrite de_morgan_or. reflexivity.
   pass_rate: 0.375
   difficulty: medium *)
Theorem de_morgan_or : forall a b : bool, negb (a || b) = negb a && negb b.
Proof.
  intros a b.
  destruct a; reflexivity.
Qed.

(* task: A function on booleans that is applied three times does the same as once.
   wrong: intros f b. destruct b; reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem apply_three_times : forall (f : bool -> bool) (b : bool), f (f (f b)) = f b.
Proof.
  intros f b.
  destruct (f true) eqn:T, (f false) eqn:F, b; rewrite ?T, ?F, ?T, ?F; auto.
Qed.

(* task: Exclusive or of a boolean with itself is false.
   wrong: intros b. simpl. reflexivity.
   pass_rate: 0.25
   difficulty: medium *)
Theorem xor_self : forall b : bool, xorb b b = false.
Proof.
  intros b.
  destruct b; reflexivity.
Qed.

(* task: If a conjunction is true, then so is its left side.
   wrong: intros a b H. reflexivity.
   wrong: intros a b H. destruct a. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem and_true_left : forall a b : bool, a && b = true -> a = true.
Proof.
  intros a b H.
  destruct a.
  - reflexivity.
  - discriminate H.
Qed.

(* task: Equal booleans are recognised as equal.
   wrong: intros b. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem eqb_self : forall b : bool, eqb b b = true.
Proof.
  intros b.
  destruct b; reflexivity.
Qed.
